"""A program of ours as a process: what it is given, and what is said when it fails."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.child import Child, ChildEnded, clean_environment
from infra.local.guardian import Guardian


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[Guardian]:
    """Somebody who ends what a test leaves."""
    folder = tmp_path / "place"
    folder.mkdir()
    guardian = Guardian(folder)
    yield guardian
    guardian.close()


def test_a_program_that_ends_at_start_shows_its_last_words(guardian: Guardian, tmp_path: Path) -> None:
    """Whoever waits for it learns its code and what it said."""

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
    """A worker of a first run must not call the API that the shell is set up for."""
    monkeypatch.setenv("VBS_ENDPOINT", "https://vbs.example.com")
    monkeypatch.setenv("OS_PASSWORD", "secret")
    monkeypatch.setenv("SECRETS_DIR", "/run/secrets")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = clean_environment()
    assert "C.UTF-8" == environment["LANG"]
    assert set() == {"VBS_ENDPOINT", "OS_PASSWORD", "SECRETS_DIR"} & environment.keys()
