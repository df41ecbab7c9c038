"""Replay, export and drop of dead letters."""

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path

import pika
import pytest

from events.decode import parse_message
from events.message import Message
from events.state_keys import StateKeys
from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.outbox import BrokerOutbox
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import QueueSession
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes
from handler.dead_letters.replaying import Replay
from handler.ledger.stores import open_ledger
from tests.integration.dead_letters.place import PROJECT, Place, dead_headers, event, snapshot_id

pytestmark = pytest.mark.broker


def dead_letter_mixed(place: Place, count: int) -> None:
    """Publish dead letters, every third of category quota, the others denied."""
    place.dead_letter([(event(n), dead_headers(n, "denied" if n % 3 else "quota")) for n in range(count)])


def numbers(place: Place, queue: str) -> list[int]:
    """Consume all messages of a queue, and return the numbers of their events."""
    found = [parse_message(Message(body), now=0.0)[0] for body, _ in place.take(queue)]
    return [int(json.loads(original.body)["id"].removeprefix("event-")) for original in found]


def test_a_replay_moves_matching_dead_letters_and_leaves_the_rest_in_order(place: Place) -> None:
    """A filtered replay moves each match once and in order, and the rest keeps its order."""
    dead_letter_mixed(place, 660)

    done = place.json("replay", "--yes", "--category", "quota")

    assert (220, "done") == (done["replayed"], done["end"])
    assert [number for number in range(660) if number % 3] == numbers(place, place.topology.dead)
    assert list(range(0, 660, 3)) == numbers(place, place.topology.queue)


def test_a_dry_run_shows_the_plan_and_moves_nothing(place: Place) -> None:
    """A dry run moves nothing, nor does a replay that has no terminal to ask on."""
    dead_letter_mixed(place, 9)

    plan = place.json("replay", "--category", "quota", "--dry-run")
    unconfirmed = place.run("replay", "--category", "quota")

    assert 3 == plan["would_replay"]
    assert (2, True) == (unconfirmed.exit_code, "--yes" in unconfirmed.stderr)
    assert [] == numbers(place, place.topology.queue)
    assert list(range(9)) == numbers(place, place.topology.dead)


def test_a_limit_replays_the_oldest(place: Place) -> None:
    """A limit of 2 replays the two oldest; a limit of 0 replays none."""
    dead_letter_mixed(place, 9)

    place.json("replay", "--yes", "--limit", "0")
    place.json("replay", "--yes", "--limit", "2")

    assert [0, 1] == numbers(place, place.topology.queue)
    assert list(range(2, 9)) == numbers(place, place.topology.dead)


def test_a_replay_from_an_export_has_the_same_replay_ids(place: Place) -> None:
    """An export leaves the queue as it is, and a replay from file or queue is one cause to the ledger."""
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


def test_a_drop_exports_to_a_file_first(place: Place) -> None:
    """A drop exports what it deletes, unless --no-export is given."""
    dead_letter_mixed(place, 9)

    dropped = place.json("drop", "--yes", "--category", "quota")
    kept = (Path(place.folder) / dropped["file"]).read_text().splitlines()
    without = place.json("drop", "--yes", "--no-export", "--limit", "1")

    assert (3, 3) == (dropped["dropped"], len(kept))
    assert {"dropped": 1, "file": None} == without
    assert [2, 4, 5, 7, 8] == numbers(place, place.topology.dead)


def test_dropped_messages_do_not_come_back(place: Place) -> None:
    """More acknowledgements than a quorum queue's channel sends at once survive the end of the command."""
    for _ in range(5):
        dead_letter_mixed(place, 400)

        place.json("drop", "--yes", "--no-export", "--category", "denied")

        assert list(range(0, 400, 3)) == numbers(place, place.topology.dead)


def test_a_drop_without_a_writable_file_deletes_nothing(place: Place) -> None:
    """An existing file is an error before any dead letter is deleted."""
    dead_letter_mixed(place, 3)
    (place.folder / "kept.jsonl").write_text("last night's")

    done = place.run("drop", "--yes", "--out", "kept.jsonl")

    assert (2, True) == (done.exit_code, "exists already" in done.stderr)
    assert [0, 1, 2] == numbers(place, place.topology.dead)


@pytest.mark.parametrize("command", [("export",), ("drop", "--yes")])
def test_what_fails_leaves_no_file(place: Place, command: tuple[str, ...]) -> None:
    """Where the queue of the dead letters does not exist, nothing is written to the folder."""
    place.settings["SNAPSHOT_QUEUE"] = f"{place.topology.queue}-other"
    before = {*place.folder.iterdir()}

    done = place.run(*command, "--out", "kept.jsonl")

    assert (1, True) == (done.exit_code, "does not exist" in done.stderr)
    assert before == {*place.folder.iterdir()}


def test_an_export_of_no_dead_letter_is_an_empty_file(place: Place) -> None:
    """What succeeds has its file, so that a script can go on with it."""
    assert {"exported": 0, "file": "kept.jsonl"} == place.json("export", "--out", "kept.jsonl")
    assert b"" == (place.folder / "kept.jsonl").read_bytes()


class TimingOutbox(BrokerOutbox):
    """An outbox that records when each message was published."""

    times: list[float]

    async def send(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Record the time, and publish."""
        self.times.append(time.monotonic())
        await super().send(exchange, routing_key, body, properties)


def replayed_per_second(place: Place, rate: float, messages: int) -> float:
    """Replay so many messages with a rate; return how many went out per second."""
    dead_letter_mixed(place, messages)

    async def run() -> float:
        async with await connect([place.url], Tls()) as connection:
            outbox = TimingOutbox(connection, place.topology, ignore_unroutable=False)
            outbox.times = []
            replay = Replay(
                outbox=outbox,
                exchange=place.topology.queue,
                keys=None,
                rate_limiter=RateLimiter(rate),
                replay_outcomes=ReplayOutcomes(),
                stop=asyncio.Event(),
            )
            await replay.from_queue(
                QueueSession(connection, place.topology, lambda: None), Filters(), limit=None
            )
            assert messages == replay.sent
            return (messages - 1) / (outbox.times[-1] - outbox.times[0])

    return asyncio.run(run())


def test_a_replay_keeps_its_rate_within_five_percent(place: Place) -> None:
    """A replay at 100 per second keeps its rate for 2.5 s, across the end of a batch.

    A machine that stalls makes one of four replays slower, or seemingly faster if it stalls at the first
    message, hardly all of them.
    """
    rates: list[float] = []
    while len(rates) < 4 and not any(95 <= each <= 105 for each in rates):
        rates.append(replayed_per_second(place, 100, 251))
    assert any(95 <= each <= 105 for each in rates), rates


def test_a_long_replay_releases_the_lock_and_continues(place: Place) -> None:
    """With a short lock each match is replayed once, and the rest keeps its order."""
    dead_letter_mixed(place, 60)

    async def run() -> int:
        async with await connect([place.url], Tls()) as connection:
            replay = Replay(
                outbox=BrokerOutbox(connection, place.topology, ignore_unroutable=False),
                exchange=place.topology.queue,
                keys=None,
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


def test_a_stopped_replay_reads_no_further(place: Place) -> None:
    """A stopped replay ends at the next message, even if no message matches."""
    dead_letter_mixed(place, 30)

    async def run() -> tuple[str, int, int]:
        async with await connect([place.url], Tls()) as connection:
            stop = asyncio.Event()
            stop.set()
            replay = Replay(
                outbox=BrokerOutbox(connection, place.topology, ignore_unroutable=False),
                exchange=place.topology.queue,
                keys=None,
                rate_limiter=RateLimiter(None),
                replay_outcomes=ReplayOutcomes(),
                stop=stop,
            )
            queue_session = QueueSession(connection, place.topology, lambda: None)
            end = await replay.from_queue(queue_session, Filters(categories=frozenset({"none"})), limit=None)
            return end, replay.seen, replay.sent

    assert ("stopped", 1, 0) == asyncio.run(run())
    assert list(range(30)) == numbers(place, place.topology.dead)


def test_project_and_snapshot_filters_select_one_dead_letter(place: Place) -> None:
    """Both filters together select the dead letter of one snapshot."""
    dead_letter_mixed(place, 5)

    plan = place.json("replay", "--project", PROJECT, "--snapshot", snapshot_id(3), "--dry-run")

    assert ["event-3"] == [message["event_id"] for message in plan["messages"]]


def test_a_replay_that_cannot_be_signed_sends_nothing_and_says_what_to_set(place: Place) -> None:
    """The workers' ledger is on another machine, and STATE_KEYS is not set here."""
    place.dead_letter([(event(1), dead_headers(1))])
    place.settings["STATE_KEYS"] = ""
    done = place.run("replay", "--yes")

    assert 2 == done.exit_code
    assert "STATE_KEYS: " in done.stderr
    assert "ledger.db is not on this machine" in done.stderr
    assert "Set LEDGER_URL to the workers' ledger, or set the same STATE_KEYS" in done.stderr
    assert not (place.folder / "ledger.db").exists()
    assert 1 == place.count(place.topology.dead)


def test_a_replay_is_signed_with_the_key_of_the_ledger(place: Place) -> None:
    """Without STATE_KEYS the command reads the key that the workers use."""
    place.settings["STATE_KEYS"] = ""
    key = asyncio.run(_key(place))
    place.dead_letter([(event(1), dead_headers(1))])
    place.json("replay", "--yes")
    [(body, _)] = place.take(place.topology.queue)

    keys = StateKeys(place.topology.queue, (key.encode(),))
    _, state, believed = parse_message(Message(body), now=0.0, keys=keys)
    assert believed
    assert state.replay


def test_replays_and_drops_are_in_the_audit_journal(place: Place) -> None:
    """Where the ledger is on this machine, it has who did what, about what and to how many."""
    asyncio.run(_key(place))
    dead_letter_mixed(place, 9)
    place.json("replay", "--yes", "--limit", "2", "--since", "30d")
    place.json("drop", "--yes", "--no-export", "--category", "quota")
    with contextlib.closing(sqlite3.connect(place.folder / "ledger.db")) as connection:
        found = connection.execute(
            "SELECT what, about, number, outcome FROM ledger_act ORDER BY at"
        ).fetchall()

    (what, about, *replayed), dropped = found
    assert ("replay", [2, "done"]) == (what, replayed)
    assert about.startswith("since ")
    assert about.endswith("; limit 2")
    assert ("drop", "categories quota", 2, "done, without an export") == dropped


async def _key(place: Place) -> str:
    ledger = open_ledger(place.settings_of_program["LEDGER_URL"], lease_seconds=20)
    try:
        return await ledger.state_key()
    finally:
        await ledger.aclose()
