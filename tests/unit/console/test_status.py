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


def test_a_wrong_reason_is_refused(url: str) -> None:
    """The line names the reasons that there are, and the exit code is 2."""
    result = run("waiting", "list", "--reason", "weather")
    assert 2 == result.exit_code
    assert "use one of retry, lookup, track" in result.output


@pytest.mark.parametrize("command", [("status", "s"), ("waiting", "list")])
def test_without_a_ledger_the_setting_is_named(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LEDGER_URL=none there is nothing to read: exit 2, and the line says what to set."""
    monkeypatch.setenv("LEDGER_URL", "none")
    result = run(*command)
    assert 2 == result.exit_code
    assert "LEDGER_URL: is none" in result.output
