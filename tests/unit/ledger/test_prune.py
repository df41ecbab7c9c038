"""Tests of ``ledger prune``, the one command that can delete a promise from the ledger.

Danger: it deletes a snapshot's row while a message about it can still come, which creates a second backup.
"""

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from events.outcome import CompletedBackup
from handler.backup.ports import Finished, Key
from handler.cli import app
from handler.ledger.stores import open_ledger
from tests.patience import patient
from tests.twins.clock import Clock

ROOT = Path(__file__).parents[3]
DAY = 86_400.0
AGES = (0, 1, 10, 40, 100)
DONE = Finished(backup=CompletedBackup(id="b1", status="available"))
LEAST = "2.042"
"""Days of the default MAX_AGE and TRACK_DEADLINE (a day each) and of an hour in the last wait queue."""


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_disk: None) -> str:
    """The URL of a ledger with a completed snapshot of each age, set in the environment."""
    found = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("LEDGER_URL", found)
    asyncio.run(fill(found))
    return found


async def fill(url: str) -> None:
    """Record snapshots whose backups completed so many days ago as ``AGES`` says."""
    now = time.time()
    clock = Clock(now)
    ledger = open_ledger(url, lease_seconds=20, clock=clock)
    for days in AGES:
        clock.now = now - days * DAY
        await ledger.finished(Key("p", str(days)), DONE, backup_id="b1", cause="first")
    await ledger.aclose()


def known(url: str) -> list[int]:
    """Return the ages of the snapshots that the ledger still knows."""

    async def look_up() -> list[int]:
        ledger = open_ledger(url, lease_seconds=20)
        found = [days for days in AGES if await ledger.look_up(Key("p", str(days)))]
        await ledger.aclose()
        return found

    return asyncio.run(look_up())


def prune(*arguments: str) -> Result:
    """Run the command without a terminal."""
    return CliRunner().invoke(app, ["ledger", "prune", *arguments])


@pytest.mark.parametrize("arguments", [["--older-than", "0"], ["--older-than", "2", "--yes"]])
def test_a_prune_that_could_break_the_promise_is_refused(url: str, arguments: list[str]) -> None:
    """The error names the settings and the least allowed age, and no row is deleted."""
    done = prune(*arguments)

    assert 2 == done.exit_code
    [line] = done.stderr.splitlines()
    for word in ("MAX_AGE", "TRACK_DEADLINE", "WAIT_LADDER", f"--older-than {LEAST},", "--force"):
        assert word in line
    assert [*AGES] == known(url)


def test_the_least_age_that_is_named_is_allowed(url: str) -> None:
    """The age that the error prints is accepted."""
    done = prune("--older-than", LEAST, "--yes", "--json")

    assert (0, {"pruned": 3}) == (done.exit_code, json.loads(done.stdout))
    assert [0, 1] == known(url)


def test_the_least_age_follows_the_settings(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer settings raise the least allowed age."""
    monkeypatch.setenv("MAX_AGE", str(20 * DAY))
    monkeypatch.setenv("TRACK_DEADLINE", str(10 * DAY))
    monkeypatch.setenv("WAIT_LADDER", f"5,{int(DAY)}")

    assert 2 == prune("--older-than", "30.9", "--yes").exit_code
    assert 0 == prune("--older-than", "31", "--yes").exit_code
    assert [0, 1, 10] == known(url)


def test_force_overrules_the_refusal(url: str) -> None:
    """An operator who knows that no event can come again may delete every row."""
    done = prune("--older-than", "0", "--force", "--yes")

    assert (0, "deleted the entries of 5 snapshots\n") == (done.exit_code, done.stdout)
    assert [] == known(url)


def test_without_a_terminal_the_command_deletes_nothing(url: str) -> None:
    """The command says what it would delete and exits 2, since it cannot ask the operator."""
    done = prune("--older-than", "30")

    assert (2, "") == (done.exit_code, done.stdout)
    assert "the entries of 2 snapshots would be deleted" in done.stderr
    assert "--yes" in done.stderr
    assert [*AGES] == known(url)


def test_the_operator_is_asked_on_a_terminal(url: str) -> None:
    """After a no, the command exits 1 and deletes nothing; after a yes, it deletes the rows it counted."""
    no, yes = answered("n"), answered("y")

    assert (1, 0) == (no[0], yes[0])
    assert "nothing was done" in no[1]
    assert "the entries of 2 snapshots would be deleted" in yes[1]
    assert {"pruned": 2} == json.loads(yes[2])
    assert [0, 1, 10] == known(url)


def answered(answer: str) -> tuple[int, str, str]:
    """Run the command on a terminal and answer; return its exit code, standard error and output."""
    terminal, terminal_end = pty.openpty()
    os.write(terminal, f"{answer}\n".encode())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "handler", "ledger", "prune", "--older-than", "30", "--json"],
            stdin=terminal_end,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(30.0),
        )
    finally:
        os.close(terminal)
        os.close(terminal_end)
    return done.returncode, done.stderr, done.stdout


def test_a_dry_run_shows_and_changes_nothing(url: str) -> None:
    """A dry run prints how many rows would be deleted, and the times of the oldest and the youngest."""
    text, document = (
        prune("--older-than", "5", "--dry-run"),
        prune("--older-than", "5", "--dry-run", "--json"),
    )

    assert (0, 0) == (text.exit_code, document.exit_code)
    told = json.loads(document.stdout)
    assert (3, 0) == (told["would_prune"], told["without_end"])
    assert told["oldest"] < told["youngest"]
    for word in ("the entries of 3 snapshots would be deleted", told["oldest"], told["youngest"]):
        assert word in text.stdout
    assert [*AGES] == known(url)


def test_the_default_age_is_the_retention(url: str) -> None:
    """The default age is LEDGER_RETENTION; if no row is that old, the command asks no question."""
    assert "deleted the entries of 1 snapshot\n" == prune("--yes").stdout
    assert (0, "deleted the entries of 0 snapshots\n") == ((done := prune()).exit_code, done.stdout)


def test_an_age_that_is_no_number_is_refused(url: str) -> None:
    """The command refuses NaN: a database may order it before every time."""
    done = prune("--older-than", "nan", "--force", "--yes")

    assert (2, True) == (done.exit_code, "--older-than" in done.stderr)
    assert [*AGES] == known(url)


@pytest.mark.parametrize("named", ["none", "sqlite:///nowhere.db"])
def test_a_missing_ledger_is_an_error(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong LEDGER_URL is not taken for an empty ledger, and the command creates no file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_URL", named)

    done = prune("--dry-run")

    assert (2, True) == (done.exit_code, done.stderr.startswith("settings: LEDGER_URL: "))
    assert [] == [*tmp_path.iterdir()]
