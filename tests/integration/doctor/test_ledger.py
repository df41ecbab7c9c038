"""Faults of the ledger and its disk."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from handler.ledger.stores import open_ledger
from infra.local.server import free_ports
from tests import postgres
from tests.integration.doctor.looking import Report, run
from tests.settings_names import program

ROOT = Path(__file__).parents[3]
MOUNTED = """
set -e
mount -t tmpfs -o size=256k tmpfs "$1"
cp "$2" "$1/ledger.db"
{then}
exec "$3" -m handler doctor --json
"""
"""Run in a mount namespace of its own, which ends with the program."""


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    """A private PostgreSQL."""
    with postgres.server() as running:
        yield running


def look(monkeypatch: pytest.MonkeyPatch, ledger: str) -> Report:
    """Run the doctor with this ledger; nothing else is there."""
    for name, value in surroundings(ledger).items():
        monkeypatch.setenv(name, value)
    return run()


def surroundings(ledger: str) -> dict[str, str]:
    """Settings in which only the ledger matters."""
    closed = free_ports(1)[0]
    return {
        "AMQP_URL": f"amqp://127.0.0.1:{closed}",
        "VBS_ENDPOINT": f"http://127.0.0.1:{closed}",
        "LEDGER_URL": ledger,
    }


def make(path: Path) -> Path:
    """Make a ledger file."""

    async def check() -> None:
        ledger = open_ledger(f"sqlite:///{path}", lease_seconds=20)
        await ledger.check()
        await ledger.aclose()

    asyncio.run(check())
    return path


def look_on_small_disk(tmp_path: Path, then: str) -> list[dict[str, str]]:
    """Run the command with a ledger on a small disk of its own; return what is bad of the ledger."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = MOUNTED.format(then=then)
    arguments = ["sh", "-c", script, "sh", str(disk), str(make(tmp_path / "ledger.db")), sys.executable]
    done = subprocess.run(
        [program("unshare"), "--user", "--map-root-user", "--mount", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **surroundings(f"sqlite:///{disk}/ledger.db")},
        capture_output=True,
        text=True,
    )
    if "Operation not permitted" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"this system lets nobody mount a small disk: {done.stderr.strip()}")
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return [each for each in findings if (each["area"], each["state"]) == ("ledger", "bad")]


def test_a_ledger_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is read and written."""
    look(monkeypatch, f"sqlite:///{make(tmp_path / 'l.db')}").one("ledger", "ok", "read and written")


def test_a_ledger_that_is_not_there_yet_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Made by another user than the worker's, it would lock the worker out."""
    look(monkeypatch, f"sqlite:///{tmp_path}/l.db").one("ledger", "ok", "a worker creates it")

    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder is named."""
    report = look(monkeypatch, f"sqlite:///{tmp_path}/none/l.db")

    report.one("ledger", "bad", f"{tmp_path}/none", "does not exist", "LEDGER_URL")
    assert 1 == report.exit


def test_a_full_disk(tmp_path: Path) -> None:
    """Both are told: how much is free, and that nothing can be written."""
    bad = look_on_small_disk(tmp_path, 'cat /dev/zero > "$1/fill" 2> /dev/null || true')

    assert 2 == len(bad), bad
    assert "0 MB free" in bad[0]["text"]
    assert "full" in bad[1]["text"]
    assert "free space" in bad[1]["remedy"]


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """Whoever runs it, root too, it cannot be written."""
    bad = look_on_small_disk(tmp_path, 'mount -o remount,ro "$1"')

    assert any("cannot be written" in each["text"] and "LEDGER_URL" in each["remedy"] for each in bad), bad


def test_the_schema_of_a_newer_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An older program must not touch it."""
    path = make(tmp_path / "l.db")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    look(monkeypatch, f"sqlite:///{path}").one("ledger", "bad", "version 99", "at least the release")


def test_a_file_that_is_no_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A typing error in the path can name anything."""
    (tmp_path / "l.db").write_bytes(b"something else, and long enough to be looked at. " * 100)

    look(monkeypatch, f"sqlite:///{tmp_path}/l.db").one("ledger", "bad", "not a database", "LEDGER_URL")


def test_a_ledger_in_postgresql(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """Its host is named, and that it can be written."""
    look(monkeypatch, database.create("doctor")).one("ledger", "ok", "127.0.0.1", "read and written")


def test_a_database_that_is_missing(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """The server answers and has no such database."""
    look(monkeypatch, database.url("nowhere")).one("ledger", "bad", "database does not exist", "LEDGER_URL")


@pytest.fixture(scope="module")
def guarded(database: postgres.Server) -> str:
    """The address of a database for a user who must give a password (`right`) and may make no tables."""
    url = database.create("guarded")
    database.want_password("guest")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
    return url.replace("tester@", "guest:right@")


def test_a_wrong_password_of_the_database(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """It is refused, and never shown."""
    report = look(monkeypatch, guarded.replace(":right@", ":s3cr3t@"))

    found = report.one("ledger", "bad", "refused user and password", "LEDGER_URL", "user may log in")
    assert "s3cr3t" not in f"{found}"


def test_a_user_that_the_database_does_not_know(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """A typing error in the user's name."""
    report = look(monkeypatch, guarded.replace("guest:right@", "gast@"))

    report.one("ledger", "bad", "refused user", "gast", "LEDGER_URL")


def test_no_right_to_make_tables(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """From PostgreSQL 15 on nobody but its owner may make tables in a new database."""
    look(monkeypatch, guarded).one("ledger", "bad", "lacks a right", "GRANT CREATE", "LEDGER_URL")


def test_a_database_that_lets_nobody_write(
    monkeypatch: pytest.MonkeyPatch, database: postgres.Server
) -> None:
    """A standby says so of itself."""
    url = database.create("standby")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE standby SET default_transaction_read_only = on")

    look(monkeypatch, url).one("ledger", "bad", "database is read-only", "primary", "LEDGER_URL")


def test_a_database_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens; the password is never shown."""
    report = look(monkeypatch, f"postgresql://u:s3cr3t@127.0.0.1:{free_ports(1)[0]}/d")

    found = report.one("ledger", "bad", "no program listens", "LEDGER_URL")
    assert "s3cr3t" not in f"{found}"
