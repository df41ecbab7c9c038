"""What operators set, copies of messages that were replaced, and workers' reports, in PostgreSQL."""

import re
from collections.abc import Mapping, Sequence

import psycopg
from psycopg.rows import TupleRow

from handler.ledger.control_rows import ControlRows, Statements
from handler.ledger.worker_rows import WorkerRows, WorkerStatements

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE snapshot_backup_control (
        queue text NOT NULL,
        what text NOT NULL,
        since double precision NOT NULL,
        number integer,
        reason text NOT NULL,
        PRIMARY KEY (queue, what)
    )
    """,
    """
    CREATE TABLE snapshot_backup_replaced (
        id text NOT NULL,
        waits integer NOT NULL,
        due_at double precision NOT NULL,
        PRIMARY KEY (id, waits)
    )
    """,
    "CREATE INDEX snapshot_backup_replaced_by_due ON snapshot_backup_replaced (due_at)",
)


def written(text: str) -> str:
    """Write a statement as psycopg wants it."""
    return re.sub(r":(\w+)", r"%(\1)s", text).replace("T_", "snapshot_backup_")


class PostgresControl(ControlRows, WorkerRows):
    """The part of a transaction that is about control and workers."""

    _connection: psycopg.Connection[TupleRow]
    _statements = Statements().written(written)
    _worker_statements = WorkerStatements().written(written)

    def _run(self, statement: str, values: Mapping[str, object]) -> psycopg.Cursor[TupleRow]:
        return self._connection.execute(statement, values)
