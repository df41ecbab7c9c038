"""SNAPSHOT_BINDINGS with a running worker: notifications that Cinder sends to its own exchange.

The exchange is declared as by oslo.messaging (topic, not durable); bytes and properties are captured.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import UnroutableError

from events.decode import parse_message
from events.message import Message
from infra.emulator.testing import running_emulator
from tests.chaos.rabbit import delete
from tests.chaos.site import Site, many, wait_for
from tests.unit.events.forms import notifications

pytestmark = pytest.mark.broker

KEY = "notifications.info"
TOKEN = "TTTT"
"""The text that replaces the live tokens in the captured notifications."""

RELEASES = ("cinder-18-snapshot.create.end-v3", "cinder-29-snapshot.create.end-v3")
KEYSTONE = "cinder-18-snapshot.create.end-keystone"


@dataclass
class Cinder:
    """Cinder's side: its exchange, which tests declare and delete, and its notifications."""

    site: Site
    exchange: str

    def declare(self) -> None:
        """Declare the exchange as oslo.messaging does."""
        self.site.rabbit.insist(
            lambda channel: channel.exchange_declare(self.exchange, "topic", durable=False, auto_delete=False)
        )

    def delete(self) -> None:
        """Delete the exchange, and with it all its bindings."""
        self.site.rabbit.insist(lambda channel: channel.exchange_delete(self.exchange))

    def is_bound(self) -> bool:
        """Return whether a message reaches a queue; the message sent is one that the worker ignores."""
        return self.send(b'{"event_type": "volume.usage", "payload": {}, "message_id": "1"}', {})

    def send(self, body: bytes, properties: dict[str, Any]) -> bool:
        """Publish a message, and return whether it reached a queue."""

        def publish(channel: BlockingChannel) -> bool:
            said = pika.BasicProperties(**properties)
            try:
                channel.basic_publish(self.exchange, KEY, body, said, mandatory=True)
            except UnroutableError:  # one of the errors that `insist` would retry
                return False
            return True

        return bool(self.site.rabbit.insist(publish))

    def notify(self, name: str, change: Callable[[str], str] = str) -> dict[str, Any]:
        """Publish a captured notification unchanged, and return its payload and message id."""
        captured = notifications()[name]
        body = change(captured["body_utf8"])
        assert KEY == captured["routing_key"]
        assert self.send(body.encode(), captured["properties"])
        return _told(body)


def _told(body: str) -> dict[str, Any]:
    notification = json.loads(json.loads(body)["oslo.message"])
    return {**notification["payload"], "message_id": notification["message_id"]}


@pytest.fixture
def cinder(amqp_url: str, tmp_path: Path, unique: str) -> Iterator[Cinder]:
    """Yield a site whose workers bind their queue to an exchange that does not exist yet."""
    exchange = f"{unique}.openstack"
    settings = {
        "SNAPSHOT_BINDINGS": f"{exchange}:{KEY}",
        "TRACK_BACKUPS": "true",
        "LOG_LEVEL": "DEBUG",
    }
    with (
        running_emulator(settle=60) as emulator,
        Site(amqp_url, emulator, tmp_path, unique, settings) as site,
    ):
        cinder = Cinder(site, exchange)
        yield cinder
        delete(site.rabbit, [], [exchange])


def accepted(site: Site, count: int) -> list[dict[str, Any]]:
    """Wait for this number of accepted backups, and return their outcomes."""

    def found() -> list[dict[str, Any]]:
        return [each for each in site.sink.outcomes if each["type"] == "backup.accepted"]

    def enough() -> bool:
        site.sink.poll(0.1)
        return len(found()) >= count

    wait_for(enough, seconds=30, what=site.log_tail)
    return found()


def bound(cinder: Cinder) -> None:
    """Wait until the worker has bound its queue to Cinder's exchange."""
    wait_for(cinder.is_bound, seconds=30, what=cinder.site.log_tail)


def test_notifications_of_two_releases_become_backups(cinder: Cinder) -> None:
    """Captured bytes and properties of Cinder 18 and 29 lead to accepted backups with their ids."""
    cinder.declare()
    cinder.site.start_worker()
    bound(cinder)

    sent = [cinder.notify(name) for name in RELEASES]

    told = {each["correlationid"]: each["data"] for each in accepted(cinder.site, len(sent))}
    for payload in sent:
        data = told[payload["message_id"]]
        ids = (data["project_id"], data["volume_id"], data["snapshot_id"])
        assert (payload["tenant_id"], payload["volume_id"], payload["snapshot_id"]) == ids
    made = {each["snapshot_id"] for each in cinder.site.emulator.backups()}
    assert {payload["snapshot_id"] for payload in sent} == made


def test_events_published_before_the_first_worker_starts_are_handled(cinder: Cinder) -> None:
    """``topology declare`` makes each queue and binding, so that later events wait for a worker."""
    site = cinder.site
    delete(site.rabbit, site.queues, [site.name, f"{site.name}.in", f"{site.name}.dead"])
    cinder.declare()

    done = site.run("topology", "declare")
    sent = [cinder.notify(name) for name in RELEASES]
    site.ask(dict(many(0, 1)))
    site.start_worker()

    assert 0 == done.returncode, done.stderr
    told = {each["correlationid"] for each in accepted(site, 3)}
    assert {*site.asked, *(payload["message_id"] for payload in sent)} == told


def test_the_worker_binds_to_an_exchange_that_is_declared_late_or_again(cinder: Cinder) -> None:
    """The worker runs on while the exchange is missing, and binds its queue each time it appears."""
    site = cinder.site
    worker = site.start_worker()
    log = site.logs[worker.pid]
    wait_for(lambda: b"binding.missing" in log.read_bytes(), seconds=30, what=site.log_tail)

    cinder.declare()
    bound(cinder)
    first = cinder.notify(RELEASES[0])
    accepted(site, 1)
    cinder.delete()
    cinder.declare()
    assert not cinder.is_bound()

    bound(cinder)
    second = cinder.notify(RELEASES[1])

    told = [each["correlationid"] for each in accepted(site, 2)]
    assert [first["message_id"], second["message_id"]] == told
    assert worker.poll() is None


def test_both_envelopes_at_once_are_one_event(cinder: Cinder) -> None:
    """If Cinder sends a notification in both envelopes, there is one backup and one outcome id."""
    cinder.declare()
    cinder.site.start_worker()
    bound(cinder)

    payload = cinder.notify(RELEASES[1])
    bare = json.loads(notifications()[RELEASES[1]]["body_utf8"])["oslo.message"]
    assert cinder.send(bare.encode(), notifications()[RELEASES[1]]["properties"])

    told = accepted(cinder.site, 2)
    assert [payload["message_id"]] * 2 == [each["correlationid"] for each in told]
    assert 1 == len({each["id"] for each in told})
    assert [payload["snapshot_id"]] == [each["snapshot_id"] for each in cinder.site.emulator.backups()]


def test_a_live_token_is_in_no_output(cinder: Cinder) -> None:
    """The token that old releases send is in no outcome, delayed message, dead letter or log line."""
    site = cinder.site
    cinder.declare()
    worker = site.start_worker()
    bound(cinder)

    payload = cinder.notify(KEYSTONE)
    cinder.notify(KEYSTONE, lambda body: body.replace(payload["snapshot_id"], "no-uuid"))
    accepted(site, 1)
    waiting = _taken(site, site.queues[1:-1])
    dead = _taken(site, site.queues[-1:])

    assert TOKEN in notifications()[KEYSTONE]["body_utf8"]
    assert payload["snapshot_id"] in waiting
    assert "no-uuid" in dead
    log = site.logs[worker.pid].read_text()
    assert payload["snapshot_id"] in log
    for seen in (*map(str, site.sink.outcomes), waiting, dead, log):
        assert TOKEN not in seen


def _taken(site: Site, queues: Sequence[str]) -> str:
    """Wait for a message in these queues; return its headers, its body and the original inside as text."""
    taken: list[str] = []

    def look() -> bool:
        for queue in queues:
            for headers, body in site.rabbit.take_all(queue):
                taken.append(f"{headers} {body.decode()}")
                with contextlib.suppress(ValueError):
                    original, state, _ = parse_message(Message(body), now=0.0)
                    taken.append(f"{original} {state}")
        return bool(taken)

    wait_for(look, seconds=30, what=site.log_tail)
    return "\n".join(taken)
