"""Unit tests of child processes: their environment, and the error when they fail."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.child import ROOT, Child, ChildEnded, clean_environment
from infra.local.guardian import Guardian
from tests.patience import patient


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[Guardian]:
    """Run a guardian that ends the processes that a test leaves."""
    folder = tmp_path / "place"
    folder.mkdir()
    guardian = Guardian(folder)
    yield guardian
    guardian.close()


def test_a_program_that_ends_at_start_shows_its_last_lines(guardian: Guardian, tmp_path: Path) -> None:
    """The error for a program that ended has its exit code and its last lines of output."""

    async def start() -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        child = await Child.start(
            "thing",
            ("no_such_module",),
            guardian=guardian,
            folder=tmp_path,
            on_line=lambda _line: None,
        )
        await child.says(ready)

    with pytest.raises(
        ChildEnded, match=r"the thing ended with code 1; .*\n.*No module named no_such_module"
    ):
        asyncio.run(start())


STARTER = """
import os, signal, subprocess, sys
from pathlib import Path
from infra.local.guardian import Guardian
guardian = Guardian(Path(sys.argv[1]))
subprocess.Popen(guardian.announced(["sleep", "60"]), stdin=guardian.pipe, start_new_session=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_program_that_has_just_started_is_ended_too(tmp_path: Path) -> None:
    """A program tells the guardian of itself, since the one that started it may be killed at once."""
    starter = [sys.executable, "-c", STARTER, str(tmp_path)]
    # The output ends when the last process that may write to it has ended.
    done = subprocess.run(starter, cwd=ROOT, stdout=subprocess.PIPE, timeout=patient(20), check=False)
    assert -signal.SIGKILL == done.returncode


def test_the_shells_settings_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the shell are removed, so that a worker of ``infra/up`` cannot call a real API."""
    monkeypatch.setenv("VBS_ENDPOINT", "https://vbs.example.com")
    monkeypatch.setenv("OS_PASSWORD", "secret")
    monkeypatch.setenv("SECRETS_DIR", "/run/secrets")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = clean_environment()
    assert "C.UTF-8" == environment["LANG"]
    assert set() == {"VBS_ENDPOINT", "OS_PASSWORD", "SECRETS_DIR"} & environment.keys()
