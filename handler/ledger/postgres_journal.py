"""The journal in PostgreSQL, its sums, and the index by which rows are listed and pruned."""

from collections.abc import Sequence

from handler.ledger import journal_sql as sql
from handler.ledger.journal_store import StoredJournal
from handler.ledger.postgres_waiting import Connection, columns

MIGRATION: Sequence[str] = (
    "ALTER TABLE snapshot_backup_ledger ADD COLUMN journal text NOT NULL DEFAULT ''",
    "ALTER TABLE snapshot_backup_waiting ADD COLUMN journal text NOT NULL DEFAULT ''",
    # Several workers add to the sums of one hour: each to rows of its own, so that none waits for another.
    """
    CREATE TABLE snapshot_backup_sums (
        hour bigint NOT NULL,
        project_id text NOT NULL,
        what text NOT NULL,
        reason text NOT NULL,
        writer integer NOT NULL,
        number bigint NOT NULL,
        PRIMARY KEY (hour, project_id, what, reason, writer)
    )
    """,
    sql.POSTGRES.text(
        "CREATE INDEX snapshot_backup_ledger_by_standing ON {ledger} ({standing}, updated_at, project_id)"
    ),
    "DROP INDEX snapshot_backup_ledger_by_age",
)

# In the order of their key, so that two writers with the same number cannot deadlock.
_ADD = """
INSERT INTO snapshot_backup_sums
SELECT hour, project_id, what, reason, pg_backend_pid() %% 16, number
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[])
    AS added (hour, project_id, what, reason, number)
ON CONFLICT (hour, project_id, what, reason, writer)
DO UPDATE SET number = snapshot_backup_sums.number + excluded.number
"""


class PostgresJournal(StoredJournal):
    """The journal in a transaction."""

    dialect = sql.POSTGRES
    in_body = "position(:bytes in body)"

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection, now)
        self._connection = connection

    def flush(self) -> None:
        """Write the sums."""
        if sums := self.sums():
            self._connection.execute(_ADD, columns(sums))
