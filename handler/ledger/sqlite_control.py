"""What operators set, copies of messages that were replaced, and workers' reports, in a SQLite ledger."""

import sqlite3
from collections.abc import Mapping, Sequence

from handler.ledger.control_rows import ControlRows, Statements
from handler.ledger.worker_rows import WorkerRows, WorkerStatements

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


def _written(text: str) -> str:
    return text.replace("T_", "ledger_")


class SqliteControl(ControlRows, WorkerRows):
    """The part of a transaction that is about control and workers; the connection holds the write lock."""

    _connection: sqlite3.Connection
    _statements = Statements().written(_written)
    _worker_statements = WorkerStatements().written(_written)

    def _run(self, statement: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)
