"""The journal in a SQLite ledger, its sums, and the index by which rows are listed and pruned."""

import sqlite3
from collections.abc import Sequence

from handler.ledger import journal_sql as sql
from handler.ledger.journal_store import StoredJournal

MIGRATION: Sequence[str] = (
    "ALTER TABLE ledger ADD COLUMN journal TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE ledger_waiting ADD COLUMN journal TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE ledger_sums (
        hour INTEGER NOT NULL,
        project_id TEXT NOT NULL,
        what TEXT NOT NULL,
        reason TEXT NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (hour, project_id, what, reason)
    ) WITHOUT ROWID
    """,
    sql.SQLITE.text("CREATE INDEX ledger_by_standing ON ledger ({standing}, updated_at, project_id)"),
    "DROP INDEX ledger_by_age",
)

_ADD = """
INSERT INTO ledger_sums VALUES (?, ?, ?, ?, ?)
ON CONFLICT (hour, project_id, what, reason) DO UPDATE SET number = number + excluded.number
"""


class SqliteJournal(StoredJournal):
    """The journal on a connection that holds the write lock."""

    dialect = sql.SQLITE
    in_body = "instr(body, :bytes)"

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        super().__init__(connection, now)
        self._connection = connection

    def flush(self) -> None:
        """Write the sums."""
        if self._outcomes:
            self._connection.executemany(_ADD, self.sums())
