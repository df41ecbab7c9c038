"""The schema of the ledger in a SQLite file, and how it is brought up to date."""

import sqlite3
from collections.abc import Sequence

from handler.ledger import tombstones, worker_rows
from handler.ledger.sqlite_audit import MIGRATION as AUDIT
from handler.ledger.sqlite_control import MIGRATION as CONTROL
from handler.ledger.sqlite_journal import MIGRATION as JOURNAL
from handler.ledger.sqlite_slots import MIGRATION as SLOTS
from handler.ledger.sqlite_waiting import SWEPT

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """
        CREATE TABLE ledger (
            project_id TEXT NOT NULL,
            snapshot_id TEXT NOT NULL,
            state TEXT NOT NULL,
            token TEXT,
            lease_until REAL NOT NULL,
            updated_at REAL NOT NULL,
            settled INTEGER NOT NULL,
            rest TEXT NOT NULL,
            PRIMARY KEY (project_id, snapshot_id)
        )
        """,
        "CREATE INDEX ledger_by_age ON ledger (settled, updated_at)",
        "CREATE TABLE ledger_check (id INTEGER PRIMARY KEY, checked_at REAL NOT NULL)",
    ),
    ("CREATE TABLE ledger_key (id INTEGER PRIMARY KEY, state_key TEXT NOT NULL)",),
    (
        """
        CREATE TABLE ledger_waiting (
            id TEXT PRIMARY KEY,
            project_id TEXT,
            snapshot_id TEXT,
            reason TEXT NOT NULL,
            waits INTEGER NOT NULL,
            recorded_at REAL NOT NULL,
            due_at REAL NOT NULL,
            sweep_at REAL NOT NULL,
            swept INTEGER NOT NULL,
            body BLOB NOT NULL
        )
        """,
        "CREATE INDEX ledger_waiting_by_sweep ON ledger_waiting (sweep_at)",
        "CREATE INDEX ledger_waiting_by_snapshot ON ledger_waiting (project_id, snapshot_id)",
        """
        CREATE TABLE ledger_sweep (
            id INTEGER PRIMARY KEY,
            since REAL NOT NULL,
            owner TEXT,
            held_until REAL NOT NULL
        )
        """,
        "INSERT INTO ledger_sweep VALUES (1, CAST(strftime('%s', 'now') AS REAL), NULL, 0)",
    ),
    SLOTS,
    JOURNAL,
    tombstones.SQLITE,
    CONTROL,
    worker_rows.SQLITE,
    AUDIT,
    SWEPT,
)
"""The statements that lead from each schema version (``user_version``) to the next. Only add at the end."""


class NewerSchema(sqlite3.DatabaseError):
    """The file is a newer release's."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the schema up to date. The write lock lets one of the processes that start together do it."""
    if _version(connection) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection)
    if version > len(migrations):
        raise NewerSchema(f"the schema has version {version}, and this program knows {len(migrations)}")
    for statement in (line for step in migrations[version:] for line in step):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
