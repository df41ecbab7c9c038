"""Replays beside a running worker: repeated dead-lettering, found backups, and the failure threshold."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.emulator.testing import Emulator, running_emulator
from tests.integration.dead_letters.place import Place, dead_headers, event, snapshot_id

pytestmark = pytest.mark.broker
BUSY = {"route": "create", "effect": "status", "status": 409}
FORBIDDEN = {"route": "create", "effect": "status", "status": 403}
ROUNDS = 3


@pytest.fixture
def emulator(place: Place) -> Iterator[Emulator]:
    """Run the API; a worker dead-letters a message after two attempts."""
    with running_emulator(settle=0.0) as emulator:
        place.settings.update(
            VBS_ENDPOINT=emulator.url,
            VBS_AUTH="none",
            TRACK_BACKUPS="false",
            RESULT_UNROUTABLE="ignore",
            MAX_ATTEMPTS="2",
        )
        yield emulator


def fill(place: Place, count: int) -> None:
    """Publish so many dead letters."""
    place.dead_letter([(event(n), dead_headers(n)) for n in range(count)])


def creates(emulator: Emulator) -> int:
    """Return the number of create calls, whatever their status."""
    return sum(emulator.stats().get("create", {}).values())


def backups_per_snapshot(emulator: Emulator) -> Counter[Any]:
    """Return the number of backups of each snapshot."""
    return Counter(backup["request"]["backup"]["snapshot_id"] for backup in emulator.backups())


def rounds(place: Place, emulator: Emulator, count: int) -> None:
    """Replay messages that are dead-lettered again in each round, and get their backups in the end."""
    fill(place, count)
    emulator.set_faults([BUSY])
    deaths: list[set[str]] = []

    with place.worker():
        for _ in range(ROUNDS):
            deaths.append({message["id"] for message in place.json("list")["messages"]})
            place.json("replay", "--yes")
            place.until(lambda: place.count(place.topology.dead) == count)
        emulator.clear_faults()
        place.json("replay", "--yes")
        place.until(lambda: len(emulator.backups()) >= count)

    assert ROUNDS * count == len(set.union(*deaths))
    assert {snapshot_id(n): 1 for n in range(count)} == backups_per_snapshot(emulator)
    assert 0 == place.count(place.topology.dead)


def test_no_message_is_dropped_in_three_rounds_of_delay_and_replay(place: Place, emulator: Emulator) -> None:
    """The broker's cycle detection drops no message, and each dead letter has a new id (T17)."""
    rounds(place, emulator, 40)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_no_message_is_dropped_in_three_rounds_of_ten_delays(place: Place, emulator: Emulator) -> None:
    """With 200 messages and ten delays in each round, no message is dropped (T17 in full)."""
    place.settings["MAX_ATTEMPTS"] = "11"

    rounds(place, emulator, 200)


def test_show_prints_what_the_ledger_and_the_api_know(place: Place, emulator: Emulator) -> None:
    """``show`` prints body and headers, and the backup that the snapshot has by now."""
    fill(place, 1)
    with place.worker():
        place.json("replay", "--yes")
        place.until(lambda: len(emulator.backups()) == 1)
    fill(place, 1)
    (listed,) = place.json("list")["messages"]

    shown = place.json("show", listed["id"])
    text = place.run("show", listed["id"])

    assert (json.loads(event(0)), "quota") == (shown["body"], shown["headers"]["dl-category"])
    assert datetime.fromisoformat(shown["ledger"]["made_at"]) <= datetime.now(UTC)
    assert [shown["ledger"]["backup"]["id"]] == [backup["id"] for backup in shown["api"]["backups"]]
    assert f"replay --id {listed['id']}" in text.stdout


def test_a_snapshot_with_a_backup_is_published_again_without_a_create_call(
    place: Place, emulator: Emulator
) -> None:
    """Two replays, from the queue and from a file, publish each outcome twice with one create call."""
    fill(place, 5)
    place.json("export", "--out", "kept.jsonl")
    with place.channel() as channel, place.worker():
        channel.queue_declare("", exclusive=True)
        queue = str(channel.queue_declare("", exclusive=True).method.queue)
        channel.queue_bind(queue, place.topology.result_exchange, "backup.accepted")
        outcomes: list[str] = []
        for arguments in (("--yes",), ("--yes", "--from", "kept.jsonl")):
            place.json("replay", *arguments)
            for _ in range(5):
                _, _, body = next(channel.consume(queue, auto_ack=True, inactivity_timeout=30))
                outcomes.append(json.loads(body or b"{}")["id"])

    assert {2} == set(Counter(outcomes).values())
    assert 5 == creates(emulator)


def test_a_failure_rate_above_stop_at_ends_the_replay(place: Place, emulator: Emulator) -> None:
    """If replayed messages fail again, the replay stops and leaves the rest in the queue."""
    fill(place, 200)
    emulator.set_faults([FORBIDDEN])

    with place.worker():
        done = place.run("replay", "--yes", "--stop-at", "20%", "--json")

    summary = json.loads(done.stdout)
    assert (1, "failures") == (done.exit_code, summary["end"])
    assert summary["failed"] >= 10
    assert summary["replayed"] < 150


def test_a_replay_waits_for_the_ends_of_the_backups(place: Place, emulator: Emulator) -> None:
    """With --wait the ends are counted apart from the acceptances, and a repeated failure is exit code 1."""
    place.settings["TRACK_BACKUPS"] = "true"
    fill(place, 3)
    with place.worker():
        done = place.json("replay", "--yes", "--wait")
        assert (3, 3, 3, 0, 0) == tuple(
            done[each] for each in ("replayed", "accepted", "completed", "failed", "unfinished")
        )
        fill(place, 1)
        place.dead_letter([(event(7), dead_headers(7))])
        emulator.set_faults([FORBIDDEN])
        failed = place.run("replay", "--yes", "--wait", "--json")
    assert 1 == failed.exit_code, failed.output
    assert (1, 1, 0) == tuple(
        json.loads(failed.stdout)[each] for each in ("completed", "failed", "unfinished")
    )
