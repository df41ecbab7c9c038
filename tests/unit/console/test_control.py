"""Tests of ``pause``, ``resume`` and ``concurrency``: what is set, what is printed, and what is refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from handler.cli import app
from handler.ledger.stores import open_ledger

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty ledger, set in the environment."""
    found = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("LEDGER_URL", found)

    async def check() -> None:
        ledger = open_ledger(found, lease_seconds=20)
        await ledger.check()
        await ledger.aclose()

    asyncio.run(check())
    return found


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(arguments))


def document(*arguments: str) -> Any:
    """Run a command and return its JSON document."""
    done = run(*arguments, "--json")
    assert 0 == done.exit_code, done.output
    return json.loads(done.stdout)


def test_each_command_prints_all_that_holds_now() -> None:
    """The document has the pauses and the number of messages in hand, whichever of them was set."""
    document("pause", "--reason", "upgrade")
    document("pause", "--project", PROJECT, "--reason", "quota")
    found = document("concurrency", "8")
    assert ("upgrade", "quota", 8) == (
        found["paused"]["reason"],
        found["projects"][PROJECT]["reason"],
        found["concurrency"],
    )
    assert {"paused": None, "projects": {}, "concurrency": None} == [
        document(*each)
        for each in (("resume",), ("resume", "--project", PROJECT), ("concurrency", "default"))
    ][-1]


@pytest.mark.parametrize("spelling", [PROJECT.upper(), "8D2C4B6A-1f3e-4d5c-9b7a-60f1e2d3c4b5"])
def test_a_project_is_paused_in_every_spelling(spelling: str) -> None:
    """The ids that events name are Keystone's, so a pause of another spelling would stop nothing."""
    assert [PROJECT] == list(document("pause", "--project", spelling)["projects"])


def test_a_pause_is_of_the_queue_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another queue that shares the ledger is not paused."""
    document("pause")
    monkeypatch.setenv("SNAPSHOT_QUEUE", "other")
    assert document("concurrency", "default")["paused"] is None


def test_a_hostile_reason_is_safe_at_a_terminal() -> None:
    """Control characters of a reason are not printed, and a long one is cut."""
    done = run("pause", "--reason", "\x1b[31mred\n" + "x" * 500)
    assert "\x1b" not in done.stdout
    assert len(document("resume", "--project", PROJECT)["paused"]["reason"]) <= 200


@pytest.mark.parametrize("number", ["0", "-1", "2001", "1.5", "ten", "", "٣"])
def test_a_number_out_of_range_is_refused(number: str) -> None:
    """The number is one that CONCURRENCY may have."""
    done = run("concurrency", "--", number)
    assert 2 == done.exit_code
    assert document("concurrency", "default")["concurrency"] is None


@pytest.mark.parametrize("command", ["pause", "resume", "concurrency 3"])
def test_without_a_ledger_nothing_can_be_set(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says that it cannot be done, and what to do instead."""
    monkeypatch.setenv("LEDGER_URL", "none")
    done = run(*command.split())
    assert 2 == done.exit_code
    assert "workers cannot be paused, resumed or changed by a command; stop them instead" in done.stderr
