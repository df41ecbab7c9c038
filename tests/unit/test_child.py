"""Unit tests of child processes: their environment, and the error when they fail."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.child import Child, ChildEnded, clean_environment
from infra.local.guardian import Guardian


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


def test_the_shells_settings_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the shell are removed, so that a worker of ``infra/up`` cannot call a real API."""
    monkeypatch.setenv("VBS_ENDPOINT", "https://vbs.example.com")
    monkeypatch.setenv("OS_PASSWORD", "secret")
    monkeypatch.setenv("SECRETS_DIR", "/run/secrets")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = clean_environment()
    assert "C.UTF-8" == environment["LANG"]
    assert set() == {"VBS_ENDPOINT", "OS_PASSWORD", "SECRETS_DIR"} & environment.keys()
