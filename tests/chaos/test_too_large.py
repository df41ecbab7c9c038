"""The broker's limit for messages is lowered while larger ones are in the queue: each ends, none is stuck."""

import gzip
import random
from collections.abc import Iterator

import pytest

from events.message import Message
from infra.emulator.testing import Emulator
from infra.local.server import RabbitProcess
from tests.chaos.conftest import MakeSite
from tests.chaos.site import Site, many, wait_for
from tests.twins.events import made_up_id

pytestmark = pytest.mark.broker

LIMIT = 65_536
BEFORE = 134_217_728
"""RabbitMQ's default until 3.13."""


@pytest.fixture
def site(make_site: MakeSite, own_broker: RabbitProcess) -> Iterator[Site]:
    """Yield a site whose broker's limit can be lowered; it is raised again afterwards."""
    yield make_site(own_broker.url)
    _limit(own_broker, BEFORE)


def _limit(broker: RabbitProcess, size: int) -> None:
    """Change the limit for all channels that are opened from now on; releases keep it in different places."""
    key = f"max_message_size, {size}"
    broker.ctl("eval", f"application:set_env(rabbit, {key}), persistent_term:put({key}).")


def _dead(site: Site, count: int) -> dict[str, tuple[dict[str, object], bytes]]:
    """Return all dead letters, headers and body, by their code and the way they were made to fit."""
    wait_for(lambda: site.counts()[site.queues[-1]] == count, seconds=30, what=site.log_tail)
    taken = site.rabbit.take_all(site.queues[-1])
    return {
        f"{headers['dl-code']} {headers.get('dl-body')}": (dict(headers), body) for headers, body in taken
    }


def test_dead_letters_are_made_to_fit(site: Site, own_broker: RabbitProcess, rng: random.Random) -> None:
    """A dead letter that is too large is published as gzip, whole, or else cut, and other events go on."""
    packable = b"{broken" + b"x" * 3 * LIMIT
    noise = b"{" + rng.randbytes(3 * LIMIT)
    site.publish(Message(packable), Message(noise))
    _limit(own_broker, LIMIT)
    site.start_worker()
    site.ask(dict(many(0, 20)))
    site.wait_until_ended(seconds=40, events=set(site.asked))
    dead = _dead(site, 2)

    headers, body = next(each for key, each in dead.items() if key.endswith("gzip"))
    assert packable == gzip.decompress(body)
    assert len(packable) == headers["dl-body-bytes"]
    headers, body = next(each for key, each in dead.items() if key.endswith("cut"))
    assert noise[:LIMIT] == body
    assert len(noise) == headers["dl-body-bytes"]
    assert site.log_tail(1000).count("dead_letter.fitted") == 2


def test_a_message_that_is_too_large_to_wait_fails(
    site: Site, own_broker: RabbitProcess, emulator: Emulator
) -> None:
    """An event that must wait and cannot has one outcome, and its dead letter is the original."""
    emulator.set_faults([{"route": "create", "effect": "status", "status": 503, "times": 3}])
    [(event_id, (_, large))] = many(1, 2, remark="x" * (LIMIT - 2_000))
    site.publish(large)
    _limit(own_broker, LIMIT)
    site.start_worker()
    [(headers, body)] = _dead(site, 1).values()
    assert large.body == body
    assert ("invalid", "too_large_to_wait") == (headers["dl-category"], headers["dl-code"])
    assert event_id == headers["dl-event-id"]
    site.sink.poll(2.0)
    assert ["backup.failed"] == [each["type"] for each in site.sink.outcomes]
    assert made_up_id("snapshot", 1) == site.sink.outcomes[0]["subject"]
    site.ask(dict(many(10, 20)))
    site.wait_until_ended(seconds=60)


def test_a_file_that_is_too_large_to_publish_ends_the_command(site: Site, own_broker: RabbitProcess) -> None:
    """``publish`` of a message that the broker does not take fails with one line, and ends."""
    _limit(own_broker, LIMIT)
    [(_, (_, large))] = many(1, 2, remark="x" * 2 * LIMIT)
    file = site.folder / "events.jsonl"
    file.write_bytes(large.body)
    done = site.run("publish", "--file", str(file))
    assert 1 == done.returncode
    assert f"takes messages of at most {LIMIT} bytes" in done.stderr.splitlines()[-1]
