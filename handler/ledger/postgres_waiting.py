"""The records of waiting messages in PostgreSQL: the part of a transaction that is about them."""

from collections.abc import Mapping, Sequence

import psycopg
from psycopg.rows import TupleRow

from handler.backup.ports import Key, Waiting
from handler.ledger.columns import from_columns
from handler.ledger.inquiry import MOST_SNAPSHOTS, WaitingFilter, WaitingList, WaitingRecord
from handler.ledger.journal import MOST_CHARACTERS, published, waits
from handler.ledger.journal_sql import OLDEST_UNSETTLED, POSTGRES
from handler.ledger.waiting import (
    MOST_ROWS,
    Copy,
    Overdue,
    WaitingSummary,
    by_delay,
    next_sweep,
    stranded,
)

Connection = psycopg.Connection[TupleRow]

SWEPT: Sequence[str] = (
    "CREATE INDEX snapshot_backup_waiting_swept ON snapshot_backup_waiting (due_at) WHERE swept > 0",
)
"""The migration of the index by which a prune finds old records that were swept."""

NO_MESSAGE = """NOT EXISTS (SELECT 1 FROM snapshot_backup_waiting AS waiting
    WHERE waiting.project_id = ledger.project_id AND waiting.snapshot_id = ledger.snapshot_id)
"""
"""A condition on a row of the ledger: no message about its snapshot is recorded."""

_LOAD_COPIES = "SELECT id, waits, due_at FROM snapshot_backup_waiting WHERE id = ANY(%s)"
_LOCK_RECORDS = "SELECT 1 FROM snapshot_backup_waiting WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_RECORD = f"""
INSERT INTO snapshot_backup_waiting SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[],
    %s::integer[], %s::double precision[], %s::double precision[], %s::double precision[], %s::integer[],
    %s::bytea[], %s::text[])
ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, snapshot_id = excluded.snapshot_id,
    reason = excluded.reason, waits = excluded.waits, recorded_at = excluded.recorded_at,
    due_at = excluded.due_at, sweep_at = excluded.sweep_at, swept = 0, body = excluded.body,
    journal = right(snapshot_backup_waiting.journal || excluded.journal, {MOST_CHARACTERS})
"""  # noqa: S608 - made of constants
# What is noted of a message that waited becomes part of its snapshot's journal. A row that another
# transaction has locked is left out: to wait for it here, after other rows were locked, could deadlock.
_MOVE_JOURNALS = f"""
UPDATE snapshot_backup_ledger AS ledger
SET journal = right(ledger.journal || waited.journal || %s, {MOST_CHARACTERS})
FROM (SELECT known.project_id, known.snapshot_id, waiting.journal
    FROM snapshot_backup_waiting AS waiting
    JOIN snapshot_backup_ledger AS known USING (project_id, snapshot_id)
    WHERE waiting.id = ANY(%s) FOR UPDATE OF known SKIP LOCKED) AS waited
WHERE ledger.project_id = waited.project_id AND ledger.snapshot_id = waited.snapshot_id
"""  # noqa: S608 - made of constants
_FORGET = "DELETE FROM snapshot_backup_waiting WHERE id = ANY(%s)"
# A sweep puts ``sweep_at`` off, and not ``due_at``. So records that were never swept are found by the one,
# and the others by an index on the other that has only swept records: recording a message costs no more.
_FORGET_OLD, _FORGET_OLD_SWEPT = (
    f"""
DELETE FROM snapshot_backup_waiting WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM snapshot_backup_waiting WHERE {old} <= %s LIMIT %s FOR UPDATE SKIP LOCKED))
"""  # noqa: S608 - made of constants
    for old in ("sweep_at", "swept > 0 AND due_at")
)
_HOLD_SWEEP = """
UPDATE snapshot_backup_sweep SET owner = %s, held_until = %s WHERE id = 1 AND (owner = %s OR held_until <= %s)
"""
_OVERDUE = """
SELECT id, body, reason, due_at, swept, project_id, snapshot_id FROM snapshot_backup_waiting
WHERE sweep_at <= %s ORDER BY sweep_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
_SWEPT = """
UPDATE snapshot_backup_waiting AS waiting SET sweep_at = taken.sweep_at, swept = taken.swept
FROM unnest(%s::double precision[], %s::integer[], %s::text[]) AS taken (sweep_at, swept, id)
WHERE waiting.id = taken.id
"""
# Only the overdue rows are read, by the index on sweep_at: there may be a million others.
_BY_DELAY = """
SELECT due_at - recorded_at, count(*) FROM (
    SELECT recorded_at, due_at FROM snapshot_backup_waiting WHERE sweep_at <= %s LIMIT %s) AS late GROUP BY 1
"""
_WAITING = """
SELECT count(*), count(*) FILTER (WHERE due_at <= %s), min(due_at),
    (SELECT since FROM snapshot_backup_sweep WHERE id = 1)
FROM snapshot_backup_waiting
"""
_WITHOUT_MESSAGE = f"""
SELECT project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM (
    {POSTGRES.text(OLDEST_UNSETTLED)}) AS ledger
WHERE {NO_MESSAGE}
"""  # noqa: S608 - made of constants
_RECORD_COLUMNS = "project_id, snapshot_id, reason, waits, recorded_at, due_at, swept"
_FIND = f"""
SELECT journal, {_RECORD_COLUMNS} FROM snapshot_backup_waiting
WHERE snapshot_id = %(snapshot)s AND (%(project)s::text IS NULL OR project_id = %(project)s)
ORDER BY due_at LIMIT %(limit)s
"""  # noqa: S608 - made of constants
_FILTER = """
(%(project)s::text IS NULL OR project_id = %(project)s) AND (%(reason)s::text IS NULL OR reason = %(reason)s)
"""
_LIST = f"""
SELECT {_RECORD_COLUMNS} FROM snapshot_backup_waiting WHERE {_FILTER} ORDER BY due_at LIMIT %(limit)s
"""  # noqa: S608 - the same
_LIST_COUNT = f"SELECT count(*) FROM snapshot_backup_waiting WHERE {_FILTER}"  # noqa: S608 - the same


class PostgresRecords:
    """The records of waiting messages in a transaction; ``copies`` has what was recorded at its begin.

    They are written together by ``flush_records``.
    """

    def __init__(self, connection: Connection, now: float, copies: dict[str, Copy]) -> None:
        self.now = now
        self._connection = connection
        self._copies = copies
        self._recorded: dict[str, Waiting] = {}
        self._forgotten: set[str] = set()

    def load_copy(self, waiting_id: str) -> Copy | None:
        """Return what was recorded of a waiting message when the transaction began, or in it."""
        return self._copies.get(waiting_id)

    def record(self, waiting: Waiting) -> None:
        """Keep the record of a waiting message for ``flush``."""
        self._forgotten.discard(waiting.id)
        self._recorded[waiting.id] = waiting
        self._copies[waiting.id] = Copy(waiting.waits, self.now + waiting.seconds)

    def forget(self, waiting_id: str) -> None:
        """Let ``flush`` delete the record of a waiting message."""
        self._recorded.pop(waiting_id, None)
        self._copies.pop(waiting_id, None)
        self._forgotten.add(waiting_id)

    def forget_records(self, before: float, *, limit: int) -> int:
        """Delete records of messages that were due before, but for those that others have locked."""
        deleted = self._connection.execute(_FORGET_OLD, (before, limit)).rowcount
        if deleted < limit:
            deleted += self._connection.execute(_FORGET_OLD_SWEPT, (before, limit - deleted)).rowcount
        return deleted

    def hold_sweep(self, owner: str, lease: float) -> bool:
        """Hold the sweep, unless another process does."""
        arguments = (owner, self.now + lease, owner, self.now)
        return self._connection.execute(_HOLD_SWEEP, arguments).rowcount > 0

    def take(self, overdue: float, limit: int) -> Sequence[Overdue]:
        """Read overdue messages, and put off when they are taken again."""
        found = self._connection.execute(_OVERDUE, (self.now - overdue, limit)).fetchall()
        taken = [Overdue(*each) for each in found]
        if taken:
            later = [(next_sweep(self.now, each.swept) - overdue, each.swept + 1, each.id) for each in taken]
            self._connection.execute(_SWEPT, columns(later))
        return taken

    def records_of(self, snapshot_id: str, project_id: str | None) -> Sequence[tuple[WaitingRecord, str]]:
        """Read the records of the messages about a snapshot, each with its journal."""
        wanted = {"snapshot": snapshot_id, "project": project_id, "limit": MOST_SNAPSHOTS}
        found = self._connection.execute(_FIND, wanted).fetchall()
        return [(WaitingRecord(*each), journal) for journal, *each in found]

    def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        wanted = {"project": which.project_id, "reason": which.reason, "limit": which.limit}
        found = self._connection.execute(_LIST, wanted).fetchall()
        total = self._connection.execute(_LIST_COUNT, wanted).fetchall()[0][0]
        return WaitingList([WaitingRecord(*each) for each in found], total, self.now)

    def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        return by_delay(self._connection.execute(_BY_DELAY, (self.now - overdue, MOST_ROWS)).fetchall())

    def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count the recorded messages, and find the snapshots that have none."""
        counts = self._connection.execute(_WAITING, (self.now - overdue,)).fetchall()[0]
        total, late, earliest, since = counts
        before = self.now - longest
        rows: Sequence[TupleRow] = ()
        if before >= since:
            wanted = {"before": before, "limit": MOST_ROWS}
            rows = self._connection.execute(_WITHOUT_MESSAGE, wanted).fetchall()
        keys = stranded((Key(p, s), from_columns(*rest)) for p, s, *rest in rows)
        return WaitingSummary(total, late, earliest, keys, since, self.now)

    def flush_records(self) -> None:
        """Write the records of waiting messages, locked in the order of their ids: no two groups deadlock."""
        if not (self._recorded or self._forgotten):
            return
        self._connection.execute(_LOCK_RECORDS, ([*self._recorded, *self._forgotten],))
        if self._forgotten:
            self._connection.execute(_MOVE_JOURNALS, (published(self.now), list(self._forgotten)))
            self._connection.execute(_FORGET, (list(self._forgotten),))
        if self._recorded:
            rows = [self._record_columns(self._recorded[name]) for name in sorted(self._recorded)]
            self._connection.execute(_RECORD, columns(rows))

    def _record_columns(self, waiting: Waiting) -> tuple[object, ...]:
        due = self.now + waiting.seconds
        about = (waiting.project_id, waiting.snapshot_id, waiting.reason, waiting.waits)
        return (waiting.id, *about, self.now, due, due, 0, waiting.body, waits(waiting, self.now))


def load_copies(connection: Connection, copies: Sequence[str]) -> dict[str, Copy]:
    """Return what is recorded of these messages."""
    if not copies:
        return {}
    found = connection.execute(_LOAD_COPIES, (list(copies),)).fetchall()
    return {name: Copy(waits, due_at) for name, waits, due_at in found}


def columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Return rows as one list for each column."""
    return [list(column) for column in zip(*rows, strict=True)]
