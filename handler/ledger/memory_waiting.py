"""The records of waiting messages in a ledger in memory: the part of a transaction that is about them."""

from collections.abc import Mapping, Sequence

from handler.backup.ports import Waiting
from handler.ledger.inquiry import WaitingFilter, WaitingList, WaitingRecord
from handler.ledger.journal import published, waits
from handler.ledger.memory_tables import Record, Tables, added
from handler.ledger.waiting import Copy, Overdue, WaitingSummary, by_delay, next_sweep, stranded


class MemoryRecords:
    """The records of waiting messages; ``now`` is the time."""

    def __init__(self, tables: Tables, now: float) -> None:
        self.now = now
        self._tables = tables

    def load_copy(self, waiting_id: str) -> Copy | None:
        """Read what is recorded of a waiting message."""
        found = self._tables.waiting.get(waiting_id)
        return Copy(found.waiting.waits, found.due_at) if found else None

    def record(self, waiting: Waiting) -> None:
        """Write the record of a waiting message."""
        found, due = self._tables.waiting.get(waiting.id), self.now + waiting.seconds
        journal = added(found.journal if found else "", waits(waiting, self.now))
        self._tables.waiting[waiting.id] = Record(waiting, self.now, due, due, journal)

    def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        found = self._tables.waiting.pop(waiting_id, None)
        if found is not None and found.key in self._tables.rows:
            self._tables.add_to_journal(found.key, found.journal + published(self.now))

    def forget_records(self, before: float, *, limit: int) -> int:
        """Delete all records of messages that were due before, whatever the limit."""
        kept = {key: each for key, each in self._tables.waiting.items() if each.due_at > before}
        deleted = len(self._tables.waiting) - len(kept)
        self._tables.waiting = kept
        return deleted

    def hold_sweep(self, owner: str, lease: float) -> bool:
        """Hold the sweep, unless another process does."""
        holder, until = self._tables.sweeper
        if holder != owner and until > self.now:
            return False
        self._tables.sweeper = (owner, self.now + lease)
        return True

    def take(self, overdue: float, limit: int) -> Sequence[Overdue]:
        """Read overdue messages, and put off when they are taken again."""
        due = [each for each in self._tables.waiting.values() if each.sweep_at <= self.now - overdue]
        return [self._taken(each, overdue) for each in sorted(due, key=_sweep_at)[:limit]]

    def _taken(self, record: Record, overdue: float) -> Overdue:
        waiting, swept = record.waiting, record.swept
        record.sweep_at, record.swept = next_sweep(self.now, swept) - overdue, swept + 1
        about = (waiting.project_id, waiting.snapshot_id)
        return Overdue(waiting.id, waiting.body, waiting.reason, record.due_at, swept, *about)

    def records_of(self, snapshot_id: str, project_id: str | None) -> Sequence[tuple[WaitingRecord, str]]:
        """Read the records of the messages about a snapshot, each with its journal."""
        return [
            (each.shown(), each.journal)
            for each in self._tables.waiting.values()
            if each.key.snapshot_id == snapshot_id and project_id in (None, each.key.project_id)
        ]

    def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        found = [
            each.shown()
            for each in sorted(self._tables.waiting.values(), key=_due_at)
            if which.project_id in (None, each.waiting.project_id)
            and which.reason in (None, each.waiting.reason)
        ]
        return WaitingList(found[: which.limit], len(found), self.now)

    def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        records, before = self._tables.waiting.values(), self.now - overdue
        return by_delay((each.waiting.seconds, 1) for each in records if each.sweep_at <= before)

    def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count the recorded messages, and find the snapshots that have none."""
        due = [each.due_at for each in self._tables.waiting.values()]
        late = sum(each <= self.now - overdue for each in due)
        before, since, with_message = self.now - longest, self._tables.since, self._tables.with_message()
        rows = [
            (key, row)
            for key, row in self._tables.rows.items()
            if row.updated_at <= before and before >= since and key not in with_message
        ]
        return WaitingSummary(len(due), late, min(due, default=None), stranded(rows), since, self.now)


def _sweep_at(record: Record) -> float:
    return record.sweep_at


def _due_at(record: Record) -> float:
    return record.due_at
