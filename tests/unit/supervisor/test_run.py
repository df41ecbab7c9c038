"""``worker --processes``: what is refused, and what a start without a supervisor stays."""

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handler.cli import app
from handler.commands import one_worker, worker
from handler.errors import SettingsError
from handler.settings import load_settings
from handler.supervisor import run
from handler.supervisor.agreement import agreement
from handler.supervisor.child import Membership
from handler.supervisor.run import supervise


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VBS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("VBS_AUTH", "none")


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[list[object], int, str]:
    """Return what a command line would start, the exit code, and what it says."""
    started: list[object] = []

    def supervised(_settings: object, count: int) -> int:
        started.append(count)
        return 0

    monkeypatch.setattr(one_worker, "run", lambda _loaded, membership: started.append(membership))
    monkeypatch.setattr(run, "supervise", supervised)
    done = CliRunner().invoke(app, ["worker", *arguments])
    return started, done.exit_code, done.stderr


@pytest.mark.parametrize(
    ("arguments", "cores", "expected"),
    [
        ([], 8, [None]),
        (["--processes", "1"], 8, [None]),
        (["--processes", "0"], 1, [None]),
        (["--processes", "0"], 8, [8]),
        (["--processes", "3"], 8, [3]),
    ],
)
def test_a_supervisor_runs_only_over_several_workers(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], cores: int, expected: list[object]
) -> None:
    """One worker has no supervisor; 0 is one for each core."""
    monkeypatch.setattr(worker, "usable_cores", lambda: cores)
    started, code, _ = called(monkeypatch, *arguments)
    assert (expected, 0) == (started, code)


def test_a_worker_of_a_supervisor_has_none_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hidden option goes before --processes, which a supervisor does not pass on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        member = Membership(2, theirs.fileno(), agreement(load_settings()))
        started, code, _ = called(monkeypatch, "--processes", "3", "--supervised", str(member))
    assert ([member], 0) == (started, code)


@pytest.mark.parametrize(
    ("name", "value"),
    [("LEDGER_URL", "sqlite:///other.db"), ("SNAPSHOT_QUEUE", "other")],
)
def test_a_worker_that_would_not_share_queue_and_ledger_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A setting may have changed since the supervisor has started; two ledgers make two backups."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        member = Membership(2, theirs.fileno(), agreement(load_settings()))
        monkeypatch.setenv(name, value)
        started, code, said = called(monkeypatch, "--supervised", str(member))
    assert ([], 2, True) == (started, code, "changed since the supervisor has started" in said)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("postgresql://a:new@db.example.com/backup?sslmode=verify-full", True),
        ("postgresql://db.example.com/backup?sslmode=verify-full&user=a&password=new", True),
        ("postgresql://a:old@db.example.com/other?sslmode=verify-full", False),
        ("postgresql://a:old@db2.example.com/backup?sslmode=verify-full", False),
    ],
)
def test_a_rotated_password_is_no_other_ledger(changed: str, same: bool) -> None:
    """Host, database and options name a ledger; who signs in does not."""
    first = "postgresql://a:old@db.example.com/backup?sslmode=verify-full"
    agreements = [agreement(load_settings(LEDGER_URL=url)) for url in (first, changed)]
    assert same == (agreements[0] == agreements[1])


@pytest.mark.parametrize(
    "arguments",
    [["--processes", "-1"], ["--processes", "1025"], ["--processes", "two"], ["--supervised", "x"]],
)
def test_a_wrong_option_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Nothing is started, and the message names the option."""
    started, code, said = called(monkeypatch, *arguments)
    assert ([], 2, True) == (started, code, arguments[0] in said)


def test_processes_without_a_shared_ledger_are_refused() -> None:
    """One sentence names the setting, and what to set."""
    with pytest.raises(
        SettingsError, match=r"^LEDGER_URL: with none, .* such as LEDGER_URL=sqlite:///"
    ) as error:
        supervise(load_settings(LEDGER_URL="none"), 2)
    assert 1 == len(error.value.problems)


def test_an_address_that_is_taken_is_refused_before_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor listens, not its workers."""
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-c", "raise SystemExit('a worker was started')"])
    with pytest.raises(SettingsError, match=r"^HTTP_ADDRESS: "):
        supervise(load_settings(HTTP_ADDRESS="192.0.2.1:80"), 2)
