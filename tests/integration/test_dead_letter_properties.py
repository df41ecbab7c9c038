"""Dead letters on a real broker: each is one message in one queue, whatever properties the original has."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from typer.testing import CliRunner

from events.message import Message
from events.republish import ORIGINAL_HEADERS, ORIGINAL_PROPERTIES
from handler.cli import app
from infra.emulator.testing import running_emulator
from tests.chaos.rabbit import delete
from tests.chaos.site import Site, wait_for

pytestmark = pytest.mark.broker

DESCRIBING: dict[str, Any] = {
    "content_encoding": "identity",
    "correlation_id": "c",
    "message_id": "m",
    "type": "t",
    "app_id": "a",
    "timestamp": 1_700_000_000,
}


@pytest.fixture
def site(amqp_url: str, tmp_path: Path, unique: str) -> Iterator[Site]:
    """Yield a site with a worker, and a queue of another program."""
    with running_emulator() as emulator, Site(amqp_url, emulator, tmp_path, unique) as site:
        site.rabbit.insist(lambda channel: channel.queue_declare(other(site), durable=True))
        site.start_worker()
        yield site
        delete(site.rabbit, [other(site)], [])


def other(site: Site) -> str:
    """Return the name of the other program's queue."""
    return f"{site.name}.other"


def acting(site: Site) -> dict[str, Any]:
    """Return headers that make a broker route, delay or drop a message."""
    return {
        "CC": [site.name],
        "BCC": [other(site)],
        "x-delay": 60_000,
        "x-deduplication-header": "d",
        "x-death": [{"queue": site.name, "reason": "expired", "count": 1}],
    }


def dead(site: Site) -> tuple[Any, bytes]:
    """Wait for the only dead letter; return its properties and body, and leave it there."""
    wait_for(lambda: site.counts()[site.queues[-1]] == 1, seconds=30, what=site.counts)
    wait_for(lambda: not sum(site.unfinished().values()), seconds=30, what=site.counts)

    def look(channel: BlockingChannel) -> tuple[Any, bytes]:
        method, properties, body = channel.basic_get(site.queues[-1])
        assert method is not None
        assert body is not None
        channel.basic_nack(method.delivery_tag)
        return properties, body

    found: tuple[Any, bytes] = site.rabbit.insist(look)
    return found


def test_a_dead_letter_is_routed_nowhere_else(site: Site) -> None:
    """A dead letter is in the dead-letter queue only, even if ``CC`` and ``BCC`` name other queues."""
    site.publish(Message(b"{broken", "text/plain", {**acting(site), "own": 1}))
    properties, body = dead(site)
    assert b"{broken" == body
    kept = {name: value for name, value in acting(site).items() if name != "BCC"}  # the broker removes it
    assert (1, kept) == (properties.headers["own"], properties.headers[ORIGINAL_HEADERS])
    assert 0 == site.rabbit.count(other(site))
    site.stop()
    assert 1 == site.counts()[site.queues[-1]]


def test_a_dead_letter_keeps_every_property(site: Site) -> None:
    """A dead letter keeps descriptive properties; those that act on the broker become a header."""
    asked = {
        "expiration": "600000",
        "priority": 9,
        "user_id": urlsplit(site.amqp_url).username,
        "reply_to": "answers",
        "delivery_mode": 1,
    }
    site.publish(Message(b"{broken", "text/plain", {}, {**DESCRIBING, **asked}))
    properties, _ = dead(site)
    assert DESCRIBING == {name: getattr(properties, name) for name in DESCRIBING}
    assert asked == properties.headers[ORIGINAL_PROPERTIES]
    assert (2, None, None) == (properties.delivery_mode, properties.expiration, properties.user_id)


def test_show_and_replay_know_the_original(site: Site) -> None:
    """``show`` prints the original headers, and a replay restores them: the next dead letter has the same."""
    message = Message(b"{broken", "text/plain", {"CC": [site.name]}, {"expiration": "600000", "type": "t"})
    site.publish(message)
    first, _ = dead(site)
    [listed] = run(site, "list")["messages"]
    shown = run(site, "show", listed["id"])["original"]
    assert message.headers == shown["headers"]
    assert message.properties == shown["properties"]
    run(site, "replay", "--yes")
    again, _ = dead(site)
    for name in (ORIGINAL_HEADERS, ORIGINAL_PROPERTIES):
        assert first.headers[name] == again.headers[name]


def run(site: Site, *arguments: str) -> Any:
    """Run a command on the dead letters and return its JSON."""
    done = CliRunner().invoke(app, ["dead-letters", *arguments, "--json"], env=site.environment)
    assert 0 == done.exit_code, done.output
    return json.loads(done.stdout)
