"""The schema of the ledger in PostgreSQL, and how it is brought up to date."""

from collections.abc import Sequence

from handler.errors import LedgerUnavailable
from handler.ledger import tombstones, worker_rows
from handler.ledger.postgres_audit import MIGRATION as AUDIT
from handler.ledger.postgres_connection import Connection, apply_settings
from handler.ledger.postgres_control import MIGRATION as CONTROL
from handler.ledger.postgres_journal import MIGRATION as JOURNAL
from handler.ledger.postgres_slots import MIGRATION as SLOTS
from handler.ledger.postgres_timeline import MIGRATION as TIMELINE
from handler.ledger.postgres_waiting import SWEPT
from handler.ledger.reasons import RUN_NEWER

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """
        CREATE TABLE snapshot_backup_ledger (
            project_id text NOT NULL,
            snapshot_id text NOT NULL,
            state text NOT NULL,
            token text,
            lease_until double precision NOT NULL,
            updated_at double precision NOT NULL,
            settled integer NOT NULL,
            rest text NOT NULL,
            PRIMARY KEY (project_id, snapshot_id)
        )
        """,
        "CREATE INDEX snapshot_backup_ledger_by_age ON snapshot_backup_ledger (settled, updated_at)",
        "CREATE TABLE snapshot_backup_check (id integer PRIMARY KEY, checked_at double precision NOT NULL)",
    ),
    ("CREATE TABLE snapshot_backup_key (id integer PRIMARY KEY, state_key text NOT NULL)",),
    (
        """
        CREATE TABLE snapshot_backup_waiting (
            id text PRIMARY KEY,
            project_id text,
            snapshot_id text,
            reason text NOT NULL,
            waits integer NOT NULL,
            recorded_at double precision NOT NULL,
            due_at double precision NOT NULL,
            sweep_at double precision NOT NULL,
            swept integer NOT NULL,
            body bytea NOT NULL
        )
        """,
        "CREATE INDEX snapshot_backup_waiting_by_sweep ON snapshot_backup_waiting (sweep_at)",
        """
        CREATE INDEX snapshot_backup_waiting_by_snapshot
        ON snapshot_backup_waiting (project_id, snapshot_id)
        """,
        """
        CREATE TABLE snapshot_backup_sweep (
            id integer PRIMARY KEY,
            since double precision NOT NULL,
            owner text,
            held_until double precision NOT NULL
        )
        """,
        "INSERT INTO snapshot_backup_sweep VALUES (1, extract(epoch FROM clock_timestamp()), NULL, 0)",
    ),
    SLOTS,
    JOURNAL,
    tombstones.POSTGRES,
    CONTROL,
    worker_rows.POSTGRES,
    TIMELINE,
    AUDIT,
    SWEPT,
)
"""The statements that lead from each schema version to the next. Only add at the end."""

_MIGRATION_LOCK = 0x5B_1ED6E2


def migrate(connection: Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the schema up to date. A lock lets one of the workers that start together do it."""
    apply_settings(connection)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
    connection.execute("CREATE TABLE IF NOT EXISTS snapshot_backup_schema (version integer NOT NULL)")
    found = connection.execute("SELECT version FROM snapshot_backup_schema").fetchone()
    version = 0 if found is None else int(found[0])
    if version > len(migrations):
        raise LedgerUnavailable(
            f"the schema has version {version}, and this program knows {len(migrations)}",
            RUN_NEWER,
            place="LEDGER_URL",
        )
    for statement in (line for step in migrations[version:] for line in step):
        connection.execute(statement)
    if version < len(migrations):
        connection.execute("DELETE FROM snapshot_backup_schema")
        connection.execute("INSERT INTO snapshot_backup_schema VALUES (%s)", (len(migrations),))
