"""The audit journal in a SQLite ledger."""

from collections.abc import Sequence

from handler.ledger.audit_rows import AuditRows, AuditStatements

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE ledger_act (
        id TEXT PRIMARY KEY,
        queue TEXT NOT NULL,
        at REAL NOT NULL,
        ended REAL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        about TEXT NOT NULL,
        number INTEGER,
        outcome TEXT
    )
    """,
    "CREATE INDEX ledger_act_by_time ON ledger_act (queue, at)",
)


class SqliteAudit(AuditRows):
    """The part of a transaction that is about the audit journal."""

    _audit = AuditStatements().written(lambda text: text.replace("T_", "ledger_"))
