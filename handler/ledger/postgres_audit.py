"""The audit journal in PostgreSQL."""

from collections.abc import Sequence

from handler.ledger.audit_rows import AuditRows, AuditStatements
from handler.ledger.postgres_control import written

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE snapshot_backup_act (
        id text PRIMARY KEY,
        queue text NOT NULL,
        at double precision NOT NULL,
        ended double precision,
        who text NOT NULL,
        what text NOT NULL,
        about text NOT NULL,
        number integer,
        outcome text
    )
    """,
    "CREATE INDEX snapshot_backup_act_by_time ON snapshot_backup_act (queue, at)",
)


class PostgresAudit(AuditRows):
    """The part of a transaction that is about the audit journal."""

    _audit = AuditStatements().written(written)
