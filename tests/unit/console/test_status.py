"""Tests of ``status`` and ``waiting list``: what an operator is told of each state, and the exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Doubt, Finished, Granted, Key, Waiting
from handler.backup.result import recorded_skip
from handler.broker.routes import BIND
from handler.cli import app
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger

BACKUP = AcceptedBackup(id="b1", name="nightly-s")
DONE = Finished(CompletedBackup(id="b1", name="nightly-s", status="available", size=40), seconds=61.0)
NO = Failure(category=Category.QUOTA, status=413, code="VolumeBackup.0014", message="\x1b[31mquota\x1b[0m")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty ledger, set in the environment."""
    found = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("LEDGER_URL", found)
    record(found, lambda ledger: ledger.check())
    return found


def record(url: str, work: Callable[[StoredLedger], Awaitable[Any]]) -> None:
    """Run work on the ledger."""

    async def opened() -> None:
        ledger = open_ledger(url, lease_seconds=20)
        await work(ledger)
        await ledger.aclose()

    asyncio.run(opened())


async def claimed(ledger: StoredLedger, snapshot_id: str = "s") -> Granted:
    """Claim a snapshot of project ``p``."""
    claim = await ledger.claim(Key("p", snapshot_id), "event-1")
    assert isinstance(claim, Granted)
    return claim


async def accepted(ledger: StoredLedger) -> None:
    """Record an accepted backup."""
    await ledger.created(await claimed(ledger), BACKUP)


async def completed(ledger: StoredLedger) -> None:
    """Record a completed backup."""
    await accepted(ledger)
    await ledger.finished(Key("p", "s"), DONE, backup_id="b1", cause="event-1")


async def in_doubt(ledger: StoredLedger) -> None:
    """Record a call in doubt."""
    await ledger.doubt(
        await claimed(ledger), Doubt(since=1_700_000_000.0, lookups=2, lookup_after=1_700_000_060.0)
    )


async def refused(ledger: StoredLedger) -> None:
    """Record an event that failed."""
    await ledger.refused(await claimed(ledger), "event-1", NO, attempts=3)


async def skipped(ledger: StoredLedger) -> None:
    """Record a skip."""
    reason = recorded_skip("the backup service's own snapshot")
    await ledger.refused(await claimed(ledger), "event-1", reason, attempts=0)


async def waits(ledger: StoredLedger) -> None:
    """Record a waiting message whose snapshot was never claimed."""
    await ledger.record_waiting(Waiting("m", b"body", 30.0, "pause", 4, "p", "s"))


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("work", "state", "code"),
    [
        (completed, "completed", 0),
        (accepted, "accepted", 1),
        (claimed, "claimed", 1),
        (in_doubt, "in doubt", 1),
        (refused, "failed", 1),
        (skipped, "skipped", 1),
        (waits, "waiting", 1),
    ],
)
def test_each_state_has_its_exit_code(
    url: str, work: Callable[[StoredLedger], Awaitable[Any]], state: str, code: int
) -> None:
    """Only a completed backup exits 0."""
    record(url, work)
    result = run("status", "s", "--json")
    document = json.loads(result.output)
    assert (code, state, code == 0, "p") == (
        result.exit_code,
        document["state"],
        document["backed_up"],
        document["project_id"],
    )


def test_an_accepted_backup_suffices_if_none_is_tracked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TRACK_BACKUPS=false its event has ended."""
    monkeypatch.setenv("TRACK_BACKUPS", "false")
    record(url, accepted)
    assert 0 == run("status", "s").exit_code


def test_an_unknown_snapshot_exits_3(url: str) -> None:
    """Beside a known one too; each snapshot is shown once, in the order of the arguments."""
    record(url, completed)
    result = run("status", "s", "nowhere", "s", "--json")
    assert (3, ["s", "nowhere"]) == (
        result.exit_code,
        [json.loads(line)["snapshot_id"] for line in result.output.splitlines()],
    )


def test_a_project_narrows_the_search(url: str) -> None:
    """A snapshot of another project is unknown in this one."""
    record(url, completed)
    assert (0, 3) == (
        run("status", "s", "--project", "p").exit_code,
        run("status", "s", "--project", "q").exit_code,
    )


def test_the_text_tells_the_backup(url: str) -> None:
    """A completed backup is shown with its id, its name, its status and how long it took."""
    record(url, completed)
    text = run("status", "s").output
    assert text.startswith("s: backed up\n")
    assert "b1, nightly-s, available, 61 s after it was accepted" in text


def test_the_text_tells_why_not(url: str) -> None:
    """A failure is shown with its category, its code and its event, safe for a terminal."""
    record(url, refused)
    text = run("status", "s").output
    assert text.startswith("s: not backed up (failed)\n")
    assert "quota VolumeBackup.0014" in text
    assert "event event-1" in text
    assert "\x1b" not in text


def test_the_text_tells_when_a_doubt_is_looked_up(url: str) -> None:
    """A call in doubt is shown with its lookups and the time of the next."""
    record(url, in_doubt)
    text = run("status", "s").output
    assert "2 lookups found nothing, the next is due 2023-11-14T22:14:20+00:00" in text


async def lookups(ledger: StoredLedger) -> None:
    """Record a call in doubt, a lookup without a result, a backup that was found, and its tracking."""
    for number in (0, 1):
        doubt = Doubt(since=1_700_000_000.0, lookups=number, lookup_after=1_700_000_060.0)
        await ledger.doubt(await claimed(ledger), doubt)
    await accepted(ledger)
    await ledger.record_waiting(Waiting("m", b"body", 30.0, "track", 1, "p", "s"))


def test_the_story_is_told_as_a_timeline(url: str) -> None:
    """Each step has its time and a sentence, from the doubt to what the message waits for now."""
    record(url, lookups)
    lines = run("status", "s").output.splitlines()
    assert lines[0] == "s: not backed up (accepted)"
    [waits] = [line for line in lines if line.startswith("  waits")]
    assert "track (the backup is in progress), due 20" in waits
    story = [line for line in lines if line.startswith("  20")]
    assert ["claimed", "in doubt", "claimed", "looked up", "claimed", "accepted", "waiting"] == [
        line[29:41].strip() for line in story
    ]
    assert "lookup 1 found no backup; the next is due 2023-11-14T22:14:20+00:00" in story[3]
    assert "backup b1 was accepted by the API, or found there" in story[5]


def test_the_story_is_in_the_document(url: str) -> None:
    """For programs each step has its time, its kind and what it is about."""
    record(url, lookups)
    document = json.loads(run("status", "s", "--json").output)
    assert "waiting" == document["message"]
    steps = document["timeline"]
    assert sorted(step["at"] for step in steps) == [step["at"] for step in steps]
    last = steps[-1]
    assert ("waiting", "track", 1) == (last["what"], last["reason"], last["number"])
    assert last["due"] == document["waiting"][0]["due"]
    assert ["b1"] == [step["backup_id"] for step in steps if step["what"] == "accepted"]


@pytest.mark.parametrize(
    ("work", "where"),
    [
        (completed, "none"),
        (accepted, "queue"),
        (claimed, "in hand"),
        (in_doubt, "queue"),
        (refused, "dead letters"),
        (skipped, "none"),
        (waits, "waiting"),
    ],
)
def test_it_is_told_where_the_message_is(
    url: str, work: Callable[[StoredLedger], Awaitable[Any]], where: str
) -> None:
    """In a wait queue, in a worker's hand, in the queue, among the dead letters, or gone."""
    record(url, work)
    assert where == json.loads(run("status", "s", "--json").output)["message"]


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x9b1m", "\u202ereversed", "a\nb: backed up", "{snapshot_id.__class__}"]
)
def test_hostile_texts_of_the_story_are_harmless(url: str, text: str) -> None:
    """A code or an event's id that would steer a terminal, or look like a line of ours, does neither."""

    async def hostile(ledger: StoredLedger) -> None:
        claim = await ledger.claim(Key("p", "s"), text)
        assert isinstance(claim, Granted)
        await ledger.refused(claim, text, NO.model_copy(update={"code": text}), attempts=1)

    record(url, hostile)
    output = run("status", "s").output
    assert output.isascii() or "\N{REPLACEMENT CHARACTER}" in output
    assert not {"\x1b", "\x9b", "\u202e"} & set(output)
    assert not [line for line in output.splitlines() if line.startswith("b: backed up")]


def test_waiting_messages_are_listed(url: str) -> None:
    """The table has when each is due, why it waits, and what it is about."""
    record(url, waits)
    text = run("waiting", "list").output
    assert "pause" in text
    assert text.splitlines()[-1].startswith("1 wait")
    [document] = map(json.loads, run("waiting", "list", "--json").output.splitlines())
    assert ("pause", 4, "p", "s") == tuple(
        document[name] for name in ("reason", "waits", "project_id", "snapshot_id")
    )


def test_outcomes_that_no_queue_takes_are_listed_with_the_remedy(url: str) -> None:
    """The list ends with the command that makes a queue for them; they do not wait until they are due."""

    async def parked(ledger: StoredLedger) -> None:
        await ledger.record_waiting(Waiting("m", b"body", 21_600.0, "publish", 4, "p", "s"))

    record(url, parked)
    assert BIND in run("waiting", "list").output.splitlines()[-1]


def test_a_wrong_reason_is_refused(url: str) -> None:
    """The line names the reasons that there are, and the exit code is 2."""
    result = run("waiting", "list", "--reason", "weather")
    assert 2 == result.exit_code
    assert "is not one of retry, lookup, track" in result.output


@pytest.mark.parametrize("command", [("status", "s"), ("waiting", "list")])
def test_without_a_ledger_the_setting_is_named(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LEDGER_URL=none there is nothing to read: exit 2, and the line says what to set."""
    monkeypatch.setenv("LEDGER_URL", "none")
    result = run(*command)
    assert 2 == result.exit_code
    assert "LEDGER_URL: is none" in result.output


def test_a_ledger_that_is_missing_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path alone does not say where the command looked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_URL", "sqlite:///missing.db")
    result = run("status", "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8")
    assert (2, True) == (result.exit_code, f"file {tmp_path}/missing.db does not exist" in result.output)
