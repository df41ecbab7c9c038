"""Sending back, keeping and dropping dead letters."""

import asyncio
import json
import time
from pathlib import Path

import pika
import pytest

from events.decode import open_message
from events.message import Message
from handler.broker.connection import Tls, connect
from handler.broker.outbox import BrokerOutbox
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import QueueSession
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes
from handler.dead_letters.replaying import Replay
from tests.integration.dead_letters.place import PROJECT, Place, dead_headers, event, snapshot_id

pytestmark = pytest.mark.broker


def dead_letter_mixed(place: Place, count: int) -> None:
    """Every third is of category quota."""
    place.dead_letter([(event(n), dead_headers(n, "denied" if n % 3 else "quota")) for n in range(count)])


def numbers(place: Place, queue: str) -> list[int]:
    """Take all out of a queue, and tell which events they were."""
    found = [open_message(Message(body), now=0.0)[0] for body, _ in place.take(queue)]
    return [int(json.loads(original.body)["id"].removeprefix("event-")) for original in found]


def test_a_replay_moves_what_was_chosen_and_leaves_the_rest_in_order(place: Place) -> None:
    """In order, and each only once."""
    dead_letter_mixed(place, 660)

    done = place.json("replay", "--yes", "--category", "quota")

    assert (220, "done") == (done["replayed"], done["end"])
    assert [number for number in range(660) if number % 3] == numbers(place, place.topology.dead)
    assert list(range(0, 660, 3)) == numbers(place, place.topology.queue)


def test_a_dry_run_tells_and_moves_nothing(place: Place) -> None:
    """Nor does a replay that nobody could be asked about."""
    dead_letter_mixed(place, 9)

    plan = place.json("replay", "--category", "quota", "--dry-run")
    unconfirmed = place.run("replay", "--category", "quota")

    assert 3 == plan["would_replay"]
    assert (2, True) == (unconfirmed.exit_code, "--yes" in unconfirmed.stderr)
    assert [] == numbers(place, place.topology.queue)
    assert list(range(9)) == numbers(place, place.topology.dead)


def test_a_limit_takes_the_oldest(place: Place) -> None:
    """And 0 takes none."""
    dead_letter_mixed(place, 9)

    place.json("replay", "--yes", "--limit", "0")
    place.json("replay", "--yes", "--limit", "2")

    assert [0, 1] == numbers(place, place.topology.queue)
    assert list(range(2, 9)) == numbers(place, place.topology.dead)


def test_an_export_takes_nothing_away_and_can_be_sent_back_as_the_same_replay(place: Place) -> None:
    """From the file or from the queue: to the ledger it is one cause."""
    dead_letter_mixed(place, 6)

    exported = place.json("export", "--out", "kept.jsonl", "--category", "quota")
    place.json("replay", "--from", "kept.jsonl", "--yes")
    from_file = [body for body, _ in place.take(place.topology.queue)]
    place.json("replay", "--yes", "--category", "quota")
    from_queue = [body for body, _ in place.take(place.topology.queue)]

    assert 2 == exported["exported"] == len(from_file)
    assert [json.loads(body)["replayid"] for body in from_queue] == [
        json.loads(body)["replayid"] for body in from_file
    ]


def test_what_is_dropped_is_in_a_file_first(place: Place) -> None:
    """Unless no copy is wanted."""
    dead_letter_mixed(place, 9)

    dropped = place.json("drop", "--yes", "--category", "quota")
    kept = (Path(place.folder) / dropped["file"]).read_text().splitlines()
    without = place.json("drop", "--yes", "--no-export", "--limit", "1")

    assert (3, 3) == (dropped["dropped"], len(kept))
    assert {"dropped": 1, "file": None} == without
    assert [2, 4, 5, 7, 8] == numbers(place, place.topology.dead)


def test_what_went_does_not_come_back(place: Place) -> None:
    """More than a quorum queue's channel passes on at once, and the command ends right after."""
    for _ in range(5):
        dead_letter_mixed(place, 400)

        place.json("drop", "--yes", "--no-export", "--category", "denied")

        assert list(range(0, 400, 3)) == numbers(place, place.topology.dead)


def test_what_cannot_be_written_to_a_file_is_not_dropped(place: Place) -> None:
    """A file that exists may hold what was dropped last night."""
    dead_letter_mixed(place, 3)
    (place.folder / "kept.jsonl").write_text("last night's")

    done = place.run("drop", "--yes", "--out", "kept.jsonl")

    assert (1, True) == (done.exit_code, "exists" in done.stderr)
    assert [0, 1, 2] == numbers(place, place.topology.dead)


class TimingOutbox(BrokerOutbox):
    """Notes when each message was sent."""

    times: list[float]

    async def send(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Note the time, and send."""
        self.times.append(time.monotonic())
        await super().send(exchange, routing_key, body, properties)


def test_a_rate_holds_within_five_percent(place: Place) -> None:
    """100 a second, for 2.5 s, over the edge of a window."""
    dead_letter_mixed(place, 251)

    async def run() -> tuple[float, int]:
        async with await connect([place.url], Tls()) as connection:
            outbox = TimingOutbox(connection, place.topology, ignore_unroutable=False)
            outbox.times = []
            replay = Replay(
                outbox=outbox,
                exchange=place.topology.queue,
                rate_limiter=RateLimiter(100),
                replay_outcomes=ReplayOutcomes(),
                stop=asyncio.Event(),
            )
            await replay.from_queue(
                QueueSession(connection, place.topology, lambda: None), Filters(), limit=None
            )
            return outbox.times[-1] - outbox.times[0], replay.sent

    seconds, sent = asyncio.run(run())

    assert 251 == sent
    assert 100 * 0.95 <= 250 / seconds <= 100 * 1.05


def test_a_long_replay_gives_others_their_turn_and_goes_on(place: Place) -> None:
    """Turns of a moment: each message goes once, and what does not go stays in order."""
    dead_letter_mixed(place, 60)

    async def run() -> int:
        async with await connect([place.url], Tls()) as connection:
            replay = Replay(
                outbox=BrokerOutbox(connection, place.topology, ignore_unroutable=False),
                exchange=place.topology.queue,
                rate_limiter=RateLimiter(20),
                replay_outcomes=ReplayOutcomes(),
                stop=asyncio.Event(),
                lock_seconds=0.4,
            )
            queue_session = QueueSession(connection, place.topology, lambda: None)
            await replay.from_queue(queue_session, Filters(categories=frozenset({"quota"})), limit=None)
            return replay.sent

    assert 20 == asyncio.run(run())
    assert list(range(0, 60, 3)) == sorted(numbers(place, place.topology.queue))
    assert [number for number in range(60) if number % 3] == numbers(place, place.topology.dead)


def test_who_is_stopped_looks_no_further(place: Place) -> None:
    """Even where nothing is found that would go."""
    dead_letter_mixed(place, 30)

    async def run() -> tuple[str, int, int]:
        async with await connect([place.url], Tls()) as connection:
            stop = asyncio.Event()
            stop.set()
            replay = Replay(
                outbox=BrokerOutbox(connection, place.topology, ignore_unroutable=False),
                exchange=place.topology.queue,
                rate_limiter=RateLimiter(None),
                replay_outcomes=ReplayOutcomes(),
                stop=stop,
            )
            queue_session = QueueSession(connection, place.topology, lambda: None)
            end = await replay.from_queue(queue_session, Filters(categories=frozenset({"none"})), limit=None)
            return end, replay.seen, replay.sent

    assert ("stopped", 1, 0) == asyncio.run(run())
    assert list(range(30)) == numbers(place, place.topology.dead)


def test_project_and_snapshot_choose_one_of_many(place: Place) -> None:
    """As an operator does who was asked about one snapshot."""
    dead_letter_mixed(place, 5)

    plan = place.json("replay", "--project", PROJECT, "--snapshot", snapshot_id(3), "--dry-run")

    assert ["event-3"] == [message["event_id"] for message in plan["messages"]]
