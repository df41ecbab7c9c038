"""Dead letters and a running worker: rounds, repeats, and failures that stop the rest."""

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
    """An API where a message dies at the second try that finds it busy."""
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
    """Put so many dead letters there."""
    place.dead_letter([(event(n), dead_headers(n)) for n in range(count)])


def creates(emulator: Emulator) -> int:
    """How many create calls there were, whatever became of them."""
    return sum(emulator.stats().get("create", {}).values())


def backups_per_snapshot(emulator: Emulator) -> Counter[Any]:
    """How many backups each snapshot has."""
    return Counter(backup["request"]["backup"]["snapshot_id"] for backup in emulator.backups())


def rounds(place: Place, emulator: Emulator, count: int) -> None:
    """Let so many die and be sent back again and again, and then have their backups."""
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


@pytest.mark.timeout(180)
def test_none_is_dropped_in_three_rounds_of_waits_dead_letters_and_replay(
    place: Place, emulator: Emulator
) -> None:
    """T17: the broker's cycle detection sees nothing of it, and each death is a new one."""
    rounds(place, emulator, 40)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_none_is_dropped_in_three_rounds_of_ten_waits_each(place: Place, emulator: Emulator) -> None:
    """T17 in full: 200 messages."""
    place.settings["MAX_ATTEMPTS"] = "11"

    rounds(place, emulator, 200)


def test_show_tells_what_the_ledger_and_the_api_know(place: Place, emulator: Emulator) -> None:
    """Body and headers as they lie there; and that this snapshot has its backup by now."""
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


def test_what_has_its_backup_is_told_again_without_a_call(place: Place, emulator: Emulator) -> None:
    """Sent back beside a running worker, from the queue and then from a file: one call, one backup each."""
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


def test_failures_stop_the_rest(place: Place, emulator: Emulator) -> None:
    """When what was sent back dies again for the same reason, the others stay where they are."""
    fill(place, 200)
    emulator.set_faults([FORBIDDEN])

    with place.worker():
        done = place.run("replay", "--yes", "--stop-at", "20%", "--json")

    summary = json.loads(done.stdout)
    assert (1, "failures") == (done.exit_code, summary["end"])
    assert summary["failed"] >= 10
    assert summary["replayed"] < 150
