"""Migrations from one schema version to the next; the latest one is invented."""

import asyncio
import shutil
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Created, Doubt, Finished, Granted, Key, Waiting
from handler.errors import LedgerUnavailable
from handler.ledger import postgres, postgres_schema, sqlite, sqlite_schema
from handler.ledger.backend import Backend
from handler.ledger.group import GroupStore
from handler.ledger.inquiry import StateFilter
from handler.ledger.ledger import StoredLedger
from handler.ledger.row import STATES
from handler.ledger.stores import open_ledger
from tests.conformance.ledger.conftest import database_url

pytestmark = pytest.mark.anyio

Migrations = Sequence[Sequence[str]]

KEY = Key("project", "snapshot")
BROKEN = "INSERT INTO no_such_table VALUES (1)"


class Database(Protocol):
    """A database before and after a migration."""

    table: str
    present: Migrations

    def backend(self, migrations: Migrations) -> Backend:
        """A program that knows these migrations."""

    def version(self) -> int:
        """The version that the schema says it has."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds, past the program."""

    def write(self, statement: str) -> None:
        """Change something, past the program."""


class File:
    """A SQLite file."""

    table = "ledger"
    present = sqlite_schema.MIGRATIONS

    def __init__(self, path: Path) -> None:
        self._path = path

    def backend(self, migrations: Migrations) -> Backend:
        """See ``Database``."""
        return sqlite.SqliteBackend(self._path, time.time, migrations=migrations)

    def version(self) -> int:
        """See ``Database``."""
        [(version,)] = self.rows("PRAGMA user_version")
        return int(version)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """See ``Database``."""
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(query).fetchall()

    def write(self, statement: str) -> None:
        """See ``Database``."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(statement)


class Server:
    """A database of a PostgreSQL server."""

    table = "snapshot_backup_ledger"
    present = postgres_schema.MIGRATIONS

    def __init__(self, url: str) -> None:
        self._url = url

    def backend(self, migrations: Migrations) -> Backend:
        """See ``Database``."""
        return postgres.PostgresBackend(self._url, migrations=migrations)

    def version(self) -> int:
        """See ``Database``."""
        [(version,)] = self.rows("SELECT version FROM snapshot_backup_schema")
        return int(version)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """See ``Database``."""
        with psycopg.connect(self._url) as connection:
            return connection.execute(query.encode()).fetchall()

    def write(self, statement: str) -> None:
        """See ``Database``."""
        with psycopg.connect(self._url) as connection:
            connection.execute(statement.encode())


@pytest.fixture(params=["sqlite", "postgres", "pgbouncer"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return File(tmp_path / "ledger.db")
    return Server(database_url(request))


def _book(database: Database, migrations: Migrations) -> StoredLedger:
    return StoredLedger(GroupStore(database.backend(migrations), "ledger-migrated"), lease_seconds=60.0)


def _next_release(database: Database, *more: str) -> Migrations:
    """Return the present migrations and one more that would fail if it ran twice."""
    made_up = (
        "CREATE TABLE made_up (snapshot_id text NOT NULL)",
        f"INSERT INTO made_up SELECT snapshot_id FROM {database.table}",
        *more,
    )
    return (*database.present, made_up)


async def _write_as_today(database: Database) -> None:
    """Write what a worker of this release writes: a created backup."""
    book = _book(database, database.present)
    claim = await book.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    await book.created(claim, AcceptedBackup(id="b1"))
    await book.aclose()


async def _open(database: Database, migrations: Migrations) -> None:
    book = _book(database, migrations)
    try:
        await book.check()
        assert isinstance(await book.claim(KEY, "cause"), Created), "a promise was forgotten"
    finally:
        await book.aclose()


async def test_an_older_schema_is_brought_up_to_date(database: Database) -> None:
    """The next release migrates the rows of this one, once."""
    await _write_as_today(database)
    assert len(database.present) == database.version()
    for _ in range(2):
        await _open(database, _next_release(database))
        assert len(database.present) + 1 == database.version()
        assert [("snapshot",)] == database.rows("SELECT snapshot_id FROM made_up")


async def test_an_empty_database_goes_through_all_versions(database: Database) -> None:
    """A first start runs every migration in turn."""
    book = _book(database, _next_release(database))
    await book.check()
    await book.aclose()
    assert len(database.present) + 1 == database.version()
    assert [] == database.rows("SELECT snapshot_id FROM made_up")


async def test_workers_that_start_together_migrate_once(database: Database) -> None:
    """Four workers open an older ledger at the same time; none fails, and each migration runs once."""
    await _write_as_today(database)
    await asyncio.gather(*(_open(database, _next_release(database)) for _ in range(4)))
    assert [("snapshot",)] == database.rows("SELECT snapshot_id FROM made_up")


async def test_a_migration_that_breaks_off_leaves_the_version_before(database: Database) -> None:
    """The last statement fails: the migration is rolled back, and both releases can work."""
    await _write_as_today(database)
    with pytest.raises(LedgerUnavailable, match="no_such_table"):
        await _open(database, _next_release(database, BROKEN))
    assert len(database.present) == database.version()
    await _open(database, database.present)
    await _open(database, _next_release(database))
    assert [("snapshot",)] == database.rows("SELECT snapshot_id FROM made_up")


async def test_a_ledger_of_the_first_release_gets_a_state_key(database: Database) -> None:
    """Its promises stay, and the key stays the same from then on."""
    first = _book(database, database.present[:1])
    await first.check()
    await first.aclose()
    database.write(
        f"INSERT INTO {database.table} VALUES ('project', 'snapshot', 'made', NULL, 0, 1795000000, 0, "
        """'{"backup":{"id":"b1"},"made_at":1795000000}')"""
    )
    keys = []
    for _ in range(2):
        book = _book(database, database.present)
        keys.append(await book.state_key())
        assert isinstance(await book.claim(KEY, "cause"), Created)
        await book.aclose()
    assert keys[0] == keys[1]


KEPT = Path(__file__).parents[2] / "data" / "ledger"


def _kept(request: pytest.FixtureRequest, folder: Path, version: int) -> str:
    if request.param == "sqlite":
        shutil.copy(KEPT / f"version-{version}.sqlite", folder / "ledger.db")
        return f"sqlite:///{folder / 'ledger.db'}"
    url: str = request.getfixturevalue("postgres_server").create(f"ledger_{uuid.uuid4().hex}")
    with psycopg.connect(url) as connection:
        connection.execute((KEPT / f"version-{version}.sql").read_bytes())
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def kept_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that the release before waiting messages were recorded has written."""
    return _kept(request, tmp_path, 2)


@pytest.fixture(params=["sqlite", "postgres"])
def unjournaled_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that the release before the journal has written."""
    return _kept(request, tmp_path, 4)


async def test_a_kept_ledger_keeps_its_promises_and_records_what_waits(kept_url: str) -> None:
    """A ledger of schema version 2 answers as before, and records waiting messages from then on."""
    book = open_ledger(kept_url, lease_seconds=60.0)
    try:
        assert 64 == len(await book.state_key())
        answers = {
            name: await book.claim(Key("project", name), f"event-{name}")
            for name in ("claimed", "doubt", "created", "completed", "refused", "released")
        }
        claimed, doubt, released = answers["claimed"], answers["doubt"], answers["released"]
        assert isinstance(claimed, Granted)
        assert isinstance(doubt, Granted)
        assert isinstance(released, Granted)
        assert (True, 1, None) == (
            claimed.doubt is not None,
            doubt.doubt and doubt.doubt.lookups,
            released.doubt,
        )
        assert isinstance(answers["created"], Created)
        assert [True, False] == [
            isinstance(each, Finished) and each.failure is None
            for each in (answers["completed"], answers["refused"])
        ]
        before = await book.waiting(overdue=1.0, longest=60.0)
        assert (0, ()) == (before.total, tuple(before.stranded)), "what waits has had no time to be recorded"
        await book.record_waiting(Waiting("m", b"body", -5.0, "track", 1, "project", "created"))
        [taken] = await book.take_overdue(overdue=1.0, limit=9, lease=60.0) or ()
        assert b"body" == bytes(taken.body)
    finally:
        await book.aclose()


async def test_a_kept_ledger_shows_what_has_no_message(kept_url: str) -> None:
    """Rows of the earlier release without an end are counted, once a message of theirs would be recorded."""
    book = open_ledger(kept_url, lease_seconds=60.0)
    try:
        found = (await book.waiting(overdue=1.0, longest=-5.0)).stranded
    finally:
        await book.aclose()
    assert {"claimed", "created", "doubt"} == {key.snapshot_id for key in found}


async def test_a_ledger_without_a_journal_keeps_its_promises(unjournaled_url: str) -> None:
    """A ledger of schema version 4 answers each claim as before, and its journal begins with what follows."""
    book = open_ledger(unjournaled_url, lease_seconds=60.0)
    try:
        lost = await book.claim(Key("project", "claimed"), "event-claimed")
        assert isinstance(lost, Granted)
        assert lost.doubt is not None, "its request may have left"
        doubt = await book.claim(Key("project", "doubt"), "event-doubt")
        assert isinstance(doubt, Granted)
        assert doubt.doubt == Doubt(since=1795000000.0, lookups=1, lookup_after=1795000005.0)
        assert isinstance(await book.claim(Key("project", "created"), "event-created"), Created)
        for name in ("completed", "refused", "skipped", "error"):
            assert isinstance(await book.claim(Key("project", name), f"event-{name}"), Finished), name
        await book.created(lost, AcceptedBackup(id="b2"))
        [found] = await book.snapshots("claimed")
        assert ["claim lapsed", "accepted"] == [each.what for each in found.journal]
        [created] = await book.snapshots("created")
        assert ["track"] == [each.reason for each in created.waiting]
    finally:
        await book.aclose()


async def test_rows_from_before_the_journal_are_listed(unjournaled_url: str) -> None:
    """Each row of an earlier release is listed by where it stands, and counted in a report."""
    book = open_ledger(unjournaled_url, lease_seconds=60.0)
    try:
        found = {
            state: [
                each.key.snapshot_id for each in (await book.list_states(StateFilter([state], 9))).records
            ]
            for state in STATES
        }
        counted = await book.report(0.0, by="category")
    finally:
        await book.aclose()
    assert found == {
        "claimed": ["claimed"],
        "in doubt": ["doubt"],
        "accepted": ["created"],
        "completed": ["completed"],
        "failed": ["refused", "error"],
        "skipped": ["skipped"],
        "open": ["released"],
    }
    assert {("refused", 1), ("backup_error", 1)} == {
        (each.group, each.number) for each in counted if each.what == "failed"
    }
