"""Findings of the doctor on the ledger and its disk."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key, Waiting
from handler.doctor.ledger import tls_findings
from handler.ledger.stores import open_ledger
from infra.local.server import free_ports
from tests import pgbouncer, postgres
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
"""A script for a mount namespace of its own, which ends with the program."""


@pytest.fixture(scope="module")
def database() -> Iterator[postgres.Server]:
    """Run a private PostgreSQL."""
    with postgres.server() as running:
        yield running


def look(monkeypatch: pytest.MonkeyPatch, ledger: str) -> Report:
    """Run the doctor with this ledger, without broker and API."""
    for name, value in surroundings(ledger).items():
        monkeypatch.setenv(name, value)
    return run()


def surroundings(ledger: str) -> dict[str, str]:
    """Return settings with this ledger, and with closed ports for broker and API."""
    closed = free_ports(1)[0]
    return {
        "AMQP_URL": f"amqp://127.0.0.1:{closed}",
        "VBS_ENDPOINT": f"http://127.0.0.1:{closed}",
        "LEDGER_URL": ledger,
    }


def make(path: Path) -> Path:
    """Create a ledger file."""

    async def check() -> None:
        ledger = open_ledger(f"sqlite:///{path}", lease_seconds=20)
        await ledger.check()
        await ledger.aclose()

    asyncio.run(check())
    return path


def look_on_small_disk(tmp_path: Path, then: str) -> list[dict[str, str]]:
    """Run the command with a ledger on a small disk; return the bad findings on the ledger."""
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
        pytest.skip(f"this system allows no mount of a small disk: {done.stderr.strip()}")
    findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
    return [each for each in findings if (each["area"], each["state"]) == ("ledger", "bad")]


def test_an_existing_ledger_is_ok(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An existing ledger can be read and written."""
    look(monkeypatch, f"sqlite:///{make(tmp_path / 'l.db')}").one("ledger", "ok", "read and written")


def ledger_with(path: Path, *, waits: float | None, age: float = 0.0) -> str:
    """Create a ledger with a created backup, and perhaps its message, due in ``waits`` s; return the URL.

    ``age`` is for how many seconds the ledger and the backup have existed.
    """
    url = f"sqlite:///{path}"

    async def write() -> None:
        ledger = open_ledger(url, lease_seconds=20, clock=lambda: time.time() - age)
        claim = await ledger.claim(Key("project", "snapshot-1"), "event")
        assert isinstance(claim, Granted)
        await ledger.created(claim, AcceptedBackup(id="b"))
        if waits is not None:
            waiting = Waiting("m", b"body", waits + age, "track", 1, "project", "snapshot-1")
            await ledger.record_waiting(waiting)
        await ledger.aclose()

    asyncio.run(write())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE ledger_sweep SET since = since - ?", (age,))
    return url


def test_messages_that_wait_are_ok(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A message that is not due is counted; its snapshot is not stranded, however old it is."""
    report = look(monkeypatch, ledger_with(tmp_path / "l.db", waits=60.0, age=90_000.0))
    report.one("ledger", "ok", "waiting messages", "1 are recorded, none is overdue")


def test_overdue_messages_are_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Messages that no worker takes up are counted, with what to do."""
    found = look(monkeypatch, ledger_with(tmp_path / "l.db", waits=-700.0)).one(
        "ledger", "warning", "waiting messages", "1 of 1 have been due"
    )
    assert "start a worker" in found.remedy
    assert "dead_letter_worker_publisher_confirm_timeout, 10000" in found.remedy


def test_a_snapshot_without_a_message_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A backup without an end and without a message is named, with what to do."""
    url = ledger_with(tmp_path / "l.db", waits=None, age=90_000.0)
    found = look(monkeypatch, url).one("ledger", "warning", "waiting messages", "snapshot-1")
    assert "publish their events again" in found.remedy
    monkeypatch.setenv("TRACK_BACKUPS", "false")
    look(monkeypatch, url).one("ledger", "ok", "waiting messages")


def test_a_snapshot_of_a_moment_ago_is_not_stranded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A backup that was made just now has a message on its way."""
    look(monkeypatch, ledger_with(tmp_path / "l.db", waits=None)).one("ledger", "ok", "waiting messages")


def test_without_a_ledger_lost_messages_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The price of ``LEDGER_URL=none`` is said in full."""
    look(monkeypatch, "none").one("ledger", "warning", "LEDGER_URL", "the broker loses is not taken up again")


def test_a_missing_ledger_is_not_created(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The doctor creates no ledger, since a file of another user would lock the worker out."""
    look(monkeypatch, f"sqlite:///{tmp_path}/l.db").one("ledger", "ok", "a worker creates it")

    assert [] == list(tmp_path.iterdir())


def test_a_missing_folder_is_bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing folder of the ledger is named."""
    report = look(monkeypatch, f"sqlite:///{tmp_path}/none/l.db")

    report.one("ledger", "bad", f"{tmp_path}/none", "does not exist", "LEDGER_URL")
    assert 1 == report.exit


def test_a_full_disk_is_bad(tmp_path: Path) -> None:
    """A full disk gives two findings: its free space, and a ledger that cannot be written."""
    bad = look_on_small_disk(tmp_path, 'cat /dev/zero > "$1/fill" 2> /dev/null || true')

    assert 2 == len(bad), bad
    assert "0 MB free" in bad[0]["text"]
    assert "full" in bad[1]["text"]
    assert "free space" in bad[1]["remedy"]


def test_a_read_only_disk_is_bad(tmp_path: Path) -> None:
    """A ledger on a read-only disk cannot be written, even by root."""
    bad = look_on_small_disk(tmp_path, 'mount -o remount,ro "$1"')

    assert any("cannot be written" in each["text"] and "LEDGER_URL" in each["remedy"] for each in bad), bad


def test_a_ledger_of_a_newer_release_is_bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An older program must not write to a ledger with a newer schema."""
    path = make(tmp_path / "l.db")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    look(monkeypatch, f"sqlite:///{path}").one("ledger", "bad", "version 99", "at least the release")


def test_a_file_that_is_not_a_ledger_is_bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A path to any other file is reported with LEDGER_URL."""
    (tmp_path / "l.db").write_bytes(b"something else, and long enough to be looked at. " * 100)

    look(monkeypatch, f"sqlite:///{tmp_path}/l.db").one("ledger", "bad", "not a database", "LEDGER_URL")


def test_a_ledger_in_postgresql_is_ok(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """A ledger in PostgreSQL is reported with its host, and can be written."""
    look(monkeypatch, database.create("doctor")).one("ledger", "ok", "127.0.0.1", "read and written")


def test_a_missing_database_is_bad(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """A database that the server does not have is reported with LEDGER_URL."""
    look(monkeypatch, database.url("nowhere")).one("ledger", "bad", "database does not exist", "LEDGER_URL")


@pytest.fixture(scope="module")
def guarded(database: postgres.Server) -> str:
    """Return the URL of a database whose user has a password (`right`) and may create no tables."""
    url = database.create("guarded")
    database.want_password("guest")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
    return url.replace("tester@", "guest:right@")


def test_a_wrong_database_password_is_bad(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """A refused password of the database is reported, and never shown."""
    report = look(monkeypatch, guarded.replace(":right@", ":s3cr3t@"))

    found = report.one("ledger", "bad", "refused user and password", "LEDGER_URL", "user may log in")
    assert "s3cr3t" not in f"{found}"


def test_an_unknown_database_user_is_bad(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """An unknown user of the database is named."""
    report = look(monkeypatch, guarded.replace("guest:right@", "gast@"))

    report.one("ledger", "bad", "refused user", "gast", "LEDGER_URL")


def test_a_missing_right_to_create_tables_is_bad(monkeypatch: pytest.MonkeyPatch, guarded: str) -> None:
    """From PostgreSQL 15 on, only its owner may create tables in a new database."""
    look(monkeypatch, guarded).one("ledger", "bad", "lacks a right", "GRANT CREATE", "LEDGER_URL")


def test_a_read_only_database_is_bad(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """For a read-only database, such as a standby, the remedy names the primary."""
    url = database.create("standby")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE standby SET default_transaction_read_only = on")

    look(monkeypatch, url).one("ledger", "bad", "database is read-only", "primary", "LEDGER_URL")


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({"default_pool_size": 1, "max_client_conn": 1}, "takes no more clients"),
        ({"pool_mode": "statement"}, "pool_mode = transaction"),
    ],
)
def test_a_pooler_that_refuses_is_explained(
    monkeypatch: pytest.MonkeyPatch, database: postgres.Server, options: dict[str, object], state: str
) -> None:
    """What PgBouncer refuses is reported with what to change in its configuration."""
    with pgbouncer.pooler(database.port, {**pgbouncer.TRANSACTION, **options}) as pooler:
        url = pooler.url(database.url())
        with psycopg.connect(url):
            report = look(monkeypatch, url)

    assert "pgbouncer.ini" in report.one("ledger", "bad", state).remedy


def test_a_refused_option_is_explained(monkeypatch: pytest.MonkeyPatch, database: postgres.Server) -> None:
    """For an option that PgBouncer refuses, the remedy is to set it at the server."""
    with pgbouncer.pooler(database.port) as pooler:
        report = look(monkeypatch, f"{pooler.url(database.url())}?options=-c%20jit%3Doff")

    assert "ALTER ROLE" in report.one("ledger", "bad", "pooler refuses a parameter").remedy


REMOTE = "postgresql://user:s3cr3t@db.invalid"


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        (f"{REMOTE}/d", "db.invalid"),
        (f"{REMOTE}/d?sslmode=require", "db.invalid"),
        (f"{REMOTE}/d?sslmode=verify-ca&sslrootcert=/ca.pem", "db.invalid"),
        ("postgresql://localhost,192.0.2.7:5433/d", "192.0.2.7"),
        ("postgresql:///d?host=db.invalid", "db.invalid"),
        ("postgresql://localhost/d?hostaddr=192.0.2.7", "192.0.2.7"),
        (f"{REMOTE}/d?sslmode=verify-full&sslrootcert=/ca.pem", ""),
        (f"{REMOTE}/d?sslrootcert=system", ""),
        ("postgresql://db.invalid/d?hostaddr=127.0.0.1", ""),
        ("postgresql://localhost,127.0.0.9,[::1]/d", ""),
        ("postgresql:///d?host=/var/run/postgresql", ""),
        ("postgresql:///d?host=@abstract", ""),
        ("postgresql:///d", ""),
    ],
)
def test_a_remote_server_that_is_not_verified_is_a_warning(url: str, warned: str) -> None:
    """Without ``verify-full`` a remote server may be another one; this machine's own is not warned of."""
    found = [each for each in tls_findings(url) if each.state == "warning"]

    assert bool(warned) == bool(found)
    for each in found:
        assert f"that {warned} is the server" in each.text
        assert "LEDGER_URL: add sslmode=verify-full&sslrootcert=" in each.remedy
        assert "s3cr3t" not in f"{each}"


@pytest.mark.parametrize(
    ("name", "value", "warned"),
    [("PGSSLMODE", "verify-full", False), ("PGSSLMODE", "require", True), ("PGSSLROOTCERT", "system", False)],
)
def test_the_environment_of_libpq_counts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, warned: bool
) -> None:
    """What the URL leaves out libpq takes from the environment, and so does the check."""
    monkeypatch.setenv(name, value)

    assert warned == bool(list(tls_findings(f"{REMOTE}/d")))


def test_doctor_reports_a_remote_server_that_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning stands beside the finding that the server cannot be reached, and changes no exit code."""
    report = look(monkeypatch, "postgresql://192.0.2.7:1/d?connect_timeout=1&sslmode=require")

    report.one("ledger", "warning", "192.0.2.7", "verify-full")
    report.one("ledger", "bad", "192.0.2.7", "LEDGER_URL")


def test_an_unreachable_database_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that refuses connections is reported without its password."""
    report = look(monkeypatch, f"postgresql://u:s3cr3t@127.0.0.1:{free_ports(1)[0]}/d")

    found = report.one("ledger", "bad", "no program listens", "LEDGER_URL")
    assert "s3cr3t" not in f"{found}"


def test_what_waits_is_counted_by_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The doctor says why messages wait, whether they are overdue or not."""
    report = look(monkeypatch, ledger_with(tmp_path / "l.db", waits=60.0))
    report.one("ledger", "ok", "waiting messages", "none is overdue: 1 track")
    overdue = look(monkeypatch, ledger_with(tmp_path / "m.db", waits=-700.0))
    overdue.one("ledger", "warning", "waiting messages", "all wait for: 1 track")


def test_a_pause_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A paused queue is named with the reason of the operator, and with the command that ends the pause."""
    url = ledger_with(tmp_path / "l.db", waits=60.0)

    async def pause() -> None:
        ledger = open_ledger(url, lease_seconds=20)
        await ledger.pause("snapshot-backup", reason="upgrade")
        await ledger.aclose()

    look(monkeypatch, url).one("ledger", "ok", "pauses")
    asyncio.run(pause())
    found = look(monkeypatch, url).one("ledger", "warning", "queue snapshot-backup", "(upgrade)")
    assert "snapshot-backup resume ends it" == found.remedy
