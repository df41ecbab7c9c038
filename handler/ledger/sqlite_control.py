"""What operators set, and the copies of messages that were replaced, in a SQLite ledger."""

import sqlite3
from collections.abc import Mapping, Sequence

from handler.ledger.control_rows import ControlRows, Statements

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE ledger_control (
        queue TEXT NOT NULL,
        what TEXT NOT NULL,
        since REAL NOT NULL,
        number INTEGER,
        reason TEXT NOT NULL,
        PRIMARY KEY (queue, what)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE ledger_replaced (
        id TEXT NOT NULL,
        waits INTEGER NOT NULL,
        due_at REAL NOT NULL,
        PRIMARY KEY (id, waits)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_replaced_by_due ON ledger_replaced (due_at)",
)


class SqliteControl(ControlRows):
    """The part of a transaction that is about control; the connection holds the write lock."""

    _connection: sqlite3.Connection
    _statements = Statements().written(lambda text: text.replace("T_", "ledger_"))

    def _run(self, statement: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)
