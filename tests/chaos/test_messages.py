"""T11, T13, T16, T17: repeated messages, poison messages, oversized errors, and many delays."""

import random
import struct

import pytest

from events.message import Message, State, wrap
from tests.chaos.conftest import MakeSite
from tests.chaos.rabbit import Field
from tests.chaos.site import Site, many, wait_for
from tests.twins.events import message

pytestmark = pytest.mark.broker

DEADLY = 999_999
POISON: dict[str, Message] = {
    "no JSON": Message(b"{", "application/json"),
    "empty": Message(b""),
    "no object": Message(b"[1, 2]"),
    "wrong types": Message(b'{"volume_id": 1, "snapshot_id": {}}'),
    "deep": Message(b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "NUL": Message(b'{"volume_id": "\\u0000", "snapshot_id": "\\u0000"}'),
    "not UTF-8": Message(b"\xff\xfe{}"),
    "large": Message(b'{"snapshot_id": "' + b"x" * 2_000_000 + b'"}'),
    "unknown version": Message(b'{"specversion": "7.0", "id": "1", "source": "s", "type": "t"}'),
    "huge header": Message(b"{huge", None, {"note": "x" * 100_000}),
    "headers of all types": Message(
        b"{types",
        None,
        {
            "bytes": b"\xff\xfe",
            "double": Field(b"d", struct.pack(">d", 2.5)),
            "decimal": Field(b"D", struct.pack(">Bi", 200, 7)),
            "unsigned": Field(b"L", b"\xff" * 8),
            "table": {"list": [1, None, Field(b"f", struct.pack(">f", 0.5))]},
        },
    ),
    "damaged wait": Message(b'{"specversion":"1.0","type":"snapshot-backup.waiting","data":{}}'),
    "wrong name": message(DEADLY + 1, backup={"name": "auto-x"}),
}


def _t11(site: Site, rng: random.Random, *, snapshots: int) -> None:
    """Publish each event one to five times (three on average), shuffled, to two workers."""
    events = dict(many(0, snapshots))
    deliveries = [event for event_id, (_, event) in events.items() for _ in range(rng.randint(1, 5))]
    rng.shuffle(deliveries)
    site.start_worker()
    site.start_worker()
    site.publish(*deliveries)
    site.asked |= {event_id: snapshot for event_id, (snapshot, _) in events.items()}
    site.wait_until_ended(seconds=60 + snapshots / 20)
    site.judge("T11 duplicates over two workers", snapshots=snapshots, deliveries=len(deliveries))
    assert snapshots == len(site.emulator.backups())


def test_duplicates_over_two_workers_make_one_backup_each(
    make_site: MakeSite, amqp_url: str, rng: random.Random
) -> None:
    """T11: two workers make one backup each of 150 snapshots whose events come one to five times."""
    _t11(make_site(amqp_url), rng, snapshots=150)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_many_duplicates(make_site: MakeSite, amqp_url: str, rng: random.Random) -> None:
    """T11 in full: 5,000 snapshots with about 15,000 deliveries get one backup each."""
    _t11(make_site(amqp_url), rng, snapshots=5_000)


def test_poison_among_good_messages_is_dead_lettered(
    make_site: MakeSite, amqp_url: str, rng: random.Random
) -> None:
    """T13: every bad message is dead-lettered byte for byte, and every good event is completed."""
    site = make_site(amqp_url)
    events = dict(many(0, 60))
    everything = [*POISON.values(), *(event for _, event in events.values())]
    rng.shuffle(everything)
    worker = site.start_worker()
    site.publish(*everything)
    site.asked |= {event_id: snapshot for event_id, (snapshot, _) in events.items()}
    site.wait_until_ended(seconds=60)
    wait_for(lambda: site.rabbit.count(site.queues[-1]) == len(POISON), seconds=20, what=site.counts)
    dead = list(site.rabbit.take_all(site.queues[-1]))
    assert worker.poll() is None, "the worker ended"
    assert sorted(each.body for each in POISON.values()) == sorted(body for _, body in dead)
    assert {"malformed", "invalid"} == {headers["dl-category"] for headers, _ in dead}
    failed = [each for each in site.sink.outcomes if each["type"] == "backup.failed"]
    assert len(POISON) == len({each["id"] for each in failed})
    site.sink.outcomes = [each for each in site.sink.outcomes if each["type"] != "backup.failed"]
    site.judge("T13 poison", poison=len(POISON))


def test_a_message_that_the_client_library_cannot_read_stops_no_other_event(
    make_site: MakeSite, amqp_url: str
) -> None:
    """T13: a message with a header that pika cannot decode is a dead letter; every other event succeeds."""
    site = make_site(amqp_url)
    site.start_worker()
    site.publish(Message(b"{}", None, {"at": Field(b"T", struct.pack(">Q", 2**62))}))
    site.ask(dict(many(0, 20)))
    site.wait_until_ended(seconds=60)
    wait_for(lambda: site.rabbit.count(site.queues[-1]) == 1, seconds=30, what=site.counts)
    site.sink.outcomes = [each for each in site.sink.outcomes if each["type"] != "backup.failed"]
    site.judge("T13 unreadable header", dead=1)


def test_an_oversized_error_still_fits_a_dead_letter(make_site: MakeSite, amqp_url: str) -> None:
    """T16: half a megabyte of error text is truncated in the dead letter, and the event has its outcome."""
    site = make_site(amqp_url)
    body = {"badRequest": {"message": "no room " * 60_000}}
    site.emulator.set_faults([{"route": "create", "effect": "status", "status": 400, "body": body}])
    site.start_worker()
    events = dict(many(0, 5))
    site.publish(*(event for _, event in events.values()))
    wait_for(lambda: site.rabbit.count(site.queues[-1]) == 5, seconds=30, what=site.counts)
    dead = list(site.rabbit.take_all(site.queues[-1]))
    assert all(1 < len(headers["dl-message"]) <= 1024 for headers, _ in dead)
    assert {"refused"} == {headers["dl-category"] for headers, _ in dead}


def test_a_message_may_be_delayed_any_number_of_times(make_site: MakeSite, amqp_url: str) -> None:
    """T17: the broker's cycle detection drops no message in repeated delays, dead-lettering and replays."""
    site = make_site(amqp_url, WAIT_LADDER="1,2,4", MAX_ATTEMPTS="5")
    busy = {"badRequest": {"message": 'must be available, but the current status is "creating"'}}
    site.start_worker()
    dead = site.queues[-1]
    events = dict(many(0, 20))
    for attempt in range(3):
        site.emulator.set_faults([{"route": "create", "effect": "status", "status": 400, "body": busy}])
        for event_id, (_, event) in events.items():
            state = State(first_seen=1_700_000_000.0, replay=f"replay-{attempt}" if attempt else None)
            body = wrap(event, state, event_id=event_id, keys=site.state_keys)
            site.publish(Message(body, event.content_type))
        wait_for(lambda: site.rabbit.count(dead) == len(events), seconds=60, what=site.counts)
        taken = list(site.rabbit.take_all(dead))
        assert sorted(event.body for _, event in events.values()) == sorted(body for _, body in taken)
        assert not any(
            header.startswith(("x-death", "x-first")) for headers, _ in taken for header in headers
        )
