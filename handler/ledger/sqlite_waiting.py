"""The records of waiting messages in a SQLite ledger: the part of a transaction that is about them."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handler.backup.ports import Key, Waiting
from handler.ledger.columns import from_columns
from handler.ledger.inquiry import MOST_SNAPSHOTS, WaitingFilter, WaitingList, WaitingRecord
from handler.ledger.journal import MOST_CHARACTERS, published, waits
from handler.ledger.journal_sql import OLDEST_UNSETTLED, SQLITE
from handler.ledger.waiting import (
    MOST_ROWS,
    Copy,
    Overdue,
    WaitingSummary,
    by_delay,
    next_sweep,
    stranded,
)

SWEPT: Sequence[str] = ("CREATE INDEX ledger_waiting_swept ON ledger_waiting (due_at) WHERE swept > 0",)
"""The migration of the index by which a prune finds old records that were swept."""

NO_MESSAGE = """NOT EXISTS (SELECT 1 FROM ledger_waiting
    WHERE ledger_waiting.project_id = ledger.project_id AND ledger_waiting.snapshot_id = ledger.snapshot_id)
"""
"""A condition on a row of the ledger: no message about its snapshot is recorded."""

_ADDED = f"substr(ledger_waiting.journal || excluded.journal, -{MOST_CHARACTERS})"
_LOAD_COPY = "SELECT waits, due_at FROM ledger_waiting WHERE id = ?"
_RECORD = f"""
INSERT INTO ledger_waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)
ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, snapshot_id = excluded.snapshot_id,
    reason = excluded.reason, waits = excluded.waits, recorded_at = excluded.recorded_at,
    due_at = excluded.due_at, sweep_at = excluded.sweep_at, swept = 0, body = excluded.body,
    journal = {_ADDED}
"""  # noqa: S608 - made of constants
# What is noted of a message that waited becomes part of its snapshot's journal.
_MOVE_JOURNAL = f"""
UPDATE ledger SET journal = substr(journal
    || (SELECT journal FROM ledger_waiting WHERE id = :id) || :published, -{MOST_CHARACTERS})
WHERE (project_id, snapshot_id) = (SELECT project_id, snapshot_id FROM ledger_waiting WHERE id = :id)
"""  # noqa: S608 - made of constants
_FORGET = "DELETE FROM ledger_waiting WHERE id = ?"
# A sweep puts ``sweep_at`` off, and not ``due_at``. So records that were never swept are found by the one,
# and the others by an index on the other that has only swept records: recording a message costs no more.
_FORGET_OLD = """
DELETE FROM ledger_waiting WHERE rowid IN (
    SELECT rowid FROM ledger_waiting WHERE sweep_at <= :before
    UNION ALL SELECT rowid FROM ledger_waiting WHERE swept > 0 AND due_at <= :before LIMIT :limit)
"""
_HOLD_SWEEP = """
UPDATE ledger_sweep SET owner = ?, held_until = ? WHERE id = 1 AND (owner = ? OR held_until <= ?)
"""
_OVERDUE = """
SELECT id, body, reason, due_at, swept, project_id, snapshot_id FROM ledger_waiting
WHERE sweep_at <= ? ORDER BY sweep_at LIMIT ?
"""
_SWEPT = "UPDATE ledger_waiting SET sweep_at = ?, swept = ? WHERE id = ?"
# Only the overdue rows are read, by the index on sweep_at: there may be a million others.
_BY_DELAY = """
SELECT due_at - recorded_at, count(*) FROM (
    SELECT recorded_at, due_at FROM ledger_waiting WHERE sweep_at <= ? LIMIT ?) GROUP BY 1
"""
_WAITING = """
SELECT count(*), total(due_at <= ?), min(due_at), (SELECT since FROM ledger_sweep WHERE id = 1)
FROM ledger_waiting
"""
_WITHOUT_MESSAGE = f"""
SELECT project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM (
    {SQLITE.text(OLDEST_UNSETTLED)}) AS ledger
WHERE {NO_MESSAGE}
"""  # noqa: S608 - made of constants
_RECORD_COLUMNS = "project_id, snapshot_id, reason, waits, recorded_at, due_at, swept"
_FIND = f"""
SELECT journal, {_RECORD_COLUMNS} FROM ledger_waiting
WHERE snapshot_id = :snapshot AND (:project IS NULL OR project_id = :project) ORDER BY due_at LIMIT :limit
"""  # noqa: S608 - made of constants
_FILTER = "(:project IS NULL OR project_id = :project) AND (:reason IS NULL OR reason = :reason)"
_LIST = f"""
SELECT {_RECORD_COLUMNS} FROM ledger_waiting WHERE {_FILTER} ORDER BY due_at LIMIT :limit
"""  # noqa: S608 - the same
_LIST_COUNT = f"SELECT count(*) FROM ledger_waiting WHERE {_FILTER}"  # noqa: S608 - the same


class SqliteRecords:
    """The records of waiting messages on a connection that holds the write lock; ``now`` is the time."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self.now = now
        self._connection = connection

    def load_copy(self, waiting_id: str) -> Copy | None:
        """Read what is recorded of a waiting message."""
        found = self._connection.execute(_LOAD_COPY, (waiting_id,)).fetchone()
        return None if found is None else Copy(*found)

    def record(self, waiting: Waiting) -> None:
        """Write the record of a waiting message."""
        due = self.now + waiting.seconds
        about = (waiting.project_id, waiting.snapshot_id, waiting.reason, waiting.waits)
        self._connection.execute(
            _RECORD, (waiting.id, *about, self.now, due, due, waiting.body, waits(waiting, self.now))
        )

    def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        self._connection.execute(_MOVE_JOURNAL, {"id": waiting_id, "published": published(self.now)})
        self._connection.execute(_FORGET, (waiting_id,))

    def forget_records(self, before: float, *, limit: int) -> int:
        """Delete records of messages that were due before."""
        return self._connection.execute(_FORGET_OLD, {"before": before, "limit": limit}).rowcount

    def hold_sweep(self, owner: str, lease: float) -> bool:
        """Hold the sweep, unless another process does."""
        until = self.now + lease
        return self._connection.execute(_HOLD_SWEEP, (owner, until, owner, self.now)).rowcount > 0

    def take(self, overdue: float, limit: int) -> Sequence[Overdue]:
        """Read overdue messages, and put off when they are taken again."""
        found = self._connection.execute(_OVERDUE, (self.now - overdue, limit)).fetchall()
        taken = [Overdue(*each) for each in found]
        later = [(next_sweep(self.now, each.swept) - overdue, each.swept + 1, each.id) for each in taken]
        self._connection.executemany(_SWEPT, later)
        return taken

    def records_of(self, snapshot_id: str, project_id: str | None) -> Sequence[tuple[WaitingRecord, str]]:
        """Read the records of the messages about a snapshot, each with its journal."""
        wanted = {"snapshot": snapshot_id, "project": project_id, "limit": MOST_SNAPSHOTS}
        found = self._connection.execute(_FIND, wanted)
        return [(WaitingRecord(*each), journal) for journal, *each in found]

    def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        wanted = {"project": which.project_id, "reason": which.reason, "limit": which.limit}
        found = self._connection.execute(_LIST, wanted)
        total = self._connection.execute(_LIST_COUNT, wanted).fetchone()[0]
        return WaitingList([WaitingRecord(*each) for each in found], total, self.now)

    def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        return by_delay(self._connection.execute(_BY_DELAY, (self.now - overdue, MOST_ROWS)).fetchall())

    def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count the recorded messages, and find the snapshots that have none."""
        counts = self._connection.execute(_WAITING, (self.now - overdue,)).fetchone()
        total, late, earliest, since = counts
        before = self.now - longest
        rows: Iterable[Any] = ()
        if before >= since:
            rows = self._connection.execute(_WITHOUT_MESSAGE, {"before": before, "limit": MOST_ROWS})
        keys = stranded((Key(p, s), from_columns(*rest)) for p, s, *rest in rows)
        return WaitingSummary(total, int(late), earliest, keys, since, self.now)
