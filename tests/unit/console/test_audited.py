"""Tests of the audit journal of acts by commands."""

import asyncio
import getpass
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.commands.audited import audited, audited_if_known, who
from handler.console.orders import described
from handler.errors import BrokerError
from handler.ledger.audit import Act
from handler.ledger.memory import MemoryLedger
from handler.ledger.stores import open_ledger
from handler.settings import Settings, load_settings
from tests.console_browser import Browser
from tests.unit.console.test_control import PROJECT, url
from tests.unit.console.web.conftest import browser, settings

__all__ = ["browser", "settings", "url"]

HERE = f"{getpass.getuser()}@{socket.gethostname()} at the command line"


@pytest.fixture(autouse=True)
def no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who runs the tests has not become another user."""
    monkeypatch.delenv("SUDO_USER", raising=False)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


def acts(of: str) -> Sequence[Act]:
    """Return the acts in a ledger, the first one first."""

    async def read() -> Sequence[Act]:
        ledger = open_ledger(of, lease_seconds=20)
        try:
            return list(reversed(await ledger.acts("snapshot-backup", 99)))
        finally:
            await ledger.aclose()

    return asyncio.run(read())


def test_each_change_of_control_is_in_the_journal(url: str) -> None:
    """Pause, resume and concurrency are there with who, what they are about, and their end."""
    for command in (
        f"pause --project {PROJECT} --reason upgrade",
        f"resume --project {PROJECT}",
        "concurrency 8",
        "ledger prune --yes",
    ):
        done = CliRunner().invoke(app, command.split())
        assert 0 == done.exit_code, done.output

    found = acts(url)
    assert [
        ("pause", f"project {PROJECT}; reason upgrade", None),
        ("resume", f"project {PROJECT}", None),
        ("concurrency", "number 8", None),
        ("prune", "older than 90 days", 0),
    ] == [(act.what, act.about, act.number) for act in found]
    assert {(HERE, "done")} == {(act.who, act.outcome) for act in found}


def test_the_console_shows_acts_by_commands(
    browser: Browser, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page Audit has them beside its own."""
    monkeypatch.setenv("LEDGER_URL", settings.ledger_url.get_secret_value())
    asyncio.run(_created(settings))
    CliRunner().invoke(app, ["pause", "--reason", "<b>upgrade</b>"])
    page = browser.get("/audit").text
    assert "reason &lt;b&gt;upgrade&lt;/b&gt;" in page
    assert HERE in page


async def _created(settings: Settings) -> None:
    ledger = open_ledger(settings.ledger_url.get_secret_value(), lease_seconds=20)
    await ledger.check()
    await ledger.aclose()


def test_who_ran_a_command_is_named_before_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    """By sudo all operators are root: the user before it is named. One without a name has a number."""
    assert who() == HERE
    monkeypatch.setenv("SUDO_USER", "alice")
    assert f"alice@{socket.gethostname()} at the command line" == who()
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert f"user 4000000@{socket.gethostname()} at the command line" == who()


def test_an_act_that_fails_or_is_broken_off_says_so() -> None:
    """The journal has what made an act fail, and tells one that was broken off from a bug."""

    async def work() -> Sequence[str | None]:
        ledger = MemoryLedger()
        for error in (BrokerError("gone"), asyncio.CancelledError(), KeyboardInterrupt(), ValueError("x")):
            with pytest.raises(type(error)):
                async with audited(ledger, "q", "replay", "all"):
                    raise error
        return [act.outcome for act in reversed(await ledger.acts("q", 9))]

    bug = "an error within the program; its log says more"
    assert sorted(["gone", "broken off", "broken off", bug]) == sorted(map(str, asyncio.run(work())))


@pytest.mark.parametrize("name", ["none", "sqlite:////nonexistent/ledger.db"])
def test_an_act_without_a_ledger_is_done_all_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dead letters are replayed and dropped on machines without the ledger: nothing is recorded or said."""
    monkeypatch.setenv("LEDGER_URL", name)
    asyncio.run(_act())
    assert "" == capsys.readouterr().err


def test_an_act_without_the_extra_of_the_ledger_is_done_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dead letters need no PostgreSQL driver: without it they are replayed and dropped as before."""
    monkeypatch.setenv("LEDGER_URL", "postgresql://127.0.0.1:1/db")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [each for each in sys.modules if each.startswith("handler.ledger.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    asyncio.run(_act())
    assert "the audit journal does not have this act: " in capsys.readouterr().err


def test_an_act_that_the_ledger_does_not_take_is_done_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger that cannot be read does not delay a command."""
    (tmp_path / "ledger.db").write_text("no database" * 500)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    asyncio.run(_act())
    assert "the audit journal does not have this act: " in capsys.readouterr().err


async def _act() -> None:
    async with audited_if_known(load_settings(), "drop", "all") as act:
        act.number = 1


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            {"snapshots": [f"s{number}" for number in range(9)], "project": None},
            "snapshots s0, s1, s2 and 6 more",
        ),
        ({"categories": ("quota",), "limit": 5, "reason": ""}, "categories quota; limit 5"),
        ({}, "all"),
    ],
)
def test_what_an_act_is_about_is_said_in_few_words(asked: dict[str, object], text: str) -> None:
    """What is given is named, and of many the first three."""
    assert text == described(asked)
