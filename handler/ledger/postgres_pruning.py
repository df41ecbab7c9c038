"""What a prune deletes in a PostgreSQL ledger: the part of a transaction that is about old rows."""

import psycopg
from psycopg.rows import TupleRow

from handler.backup.ports import Key
from handler.ledger.journal_sql import IN_SETTLED, IN_UNSETTLED, POSTGRES, SETTLED, quoted
from handler.ledger.postgres_rows import PLACEHOLDER
from handler.ledger.postgres_waiting import NO_MESSAGE
from handler.ledger.pruning import Cutoff, Prunable
from handler.ledger.row import UNSETTLED
from handler.ledger.tombstones import tombstone

_SETTLED, _UNSETTLED = POSTGRES.text(IN_SETTLED), POSTGRES.text(IN_UNSETTLED)
_OLD = f"(({_SETTLED} AND updated_at <= %s) OR ({_UNSETTLED} AND updated_at <= %s)) AND {NO_MESSAGE}"
_COUNT = f"""
SELECT count(*), count(*) FILTER (WHERE settled = 0), min(updated_at), max(updated_at)
FROM snapshot_backup_ledger AS ledger WHERE {_OLD} AND state <> '{PLACEHOLDER}'
"""  # noqa: S608 - made of constants
# One range of the index for each statement: with OR, or with a condition on the state, each step would read
# all old rows.
_DELETE = f"""
DELETE FROM snapshot_backup_ledger WHERE (project_id, snapshot_id) IN (
    SELECT project_id, snapshot_id FROM snapshot_backup_ledger AS ledger
    WHERE {{old}} AND updated_at <= %s AND {NO_MESSAGE} LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING project_id, snapshot_id
"""  # noqa: S608 - the same
_DELETE_PLACEHOLDERS, _DELETE_SETTLED, _DELETE_UNSETTLED = (
    POSTGRES.text(_DELETE, old=f"{{standing}} IN {quoted(values)}")
    for values in ((PLACEHOLDER,), SETTLED[1:], UNSETTLED)
)
_ADD_TOMBSTONES = """
INSERT INTO snapshot_backup_tombstone SELECT * FROM unnest(%s::bigint[]) ON CONFLICT DO NOTHING
"""


class PostgresOldRows:
    """The rows that a prune counts and deletes; ``now`` is the time."""

    now: float
    _connection: psycopg.Connection[TupleRow]

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows, without placeholders."""
        total, without_end, oldest, youngest = self._connection.execute(_COUNT, before).fetchall()[0]
        return Prunable(total, without_end, oldest, youngest, self.now)

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete old rows, each of which leaves a tombstone, and old placeholders; count the rows only."""
        self._connection.execute(_DELETE_PLACEHOLDERS, (before.settled, limit))
        found = self._connection.execute(_DELETE_SETTLED, (before.settled, limit)).fetchall()
        if len(found) < limit:
            others = (before.unsettled, limit - len(found))
            found += self._connection.execute(_DELETE_UNSETTLED, others).fetchall()
        self._connection.execute(_ADD_TOMBSTONES, ([tombstone(Key(*key)) for key in found],))
        return len(found)
