"""The ledger in memory, lost when the process ends: for ``LEDGER_URL=none``, and for tests."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from typing_extensions import override

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable
from handler.ledger.backend import Transaction
from handler.ledger.inquiry import Known, SnapshotRecord, joined
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory_audit import MemoryAudit
from handler.ledger.memory_control import MemoryControl
from handler.ledger.memory_journal import MemoryJournal
from handler.ledger.memory_slots import MemorySlots
from handler.ledger.memory_tables import Tables
from handler.ledger.memory_waiting import MemoryRecords
from handler.ledger.pruning import Cutoff, Prunable
from handler.ledger.quick import Quick, QuickChange
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row, Slot
from handler.ledger.transactional import TransactionalStore

T = TypeVar("T")

_ONE_CHANGE = LedgerCommit(1)

MAX_IDLE = 100_000
"""Default of ``max_idle``: the most rows kept that are neither claimed nor in doubt."""


class MemoryTransaction(MemoryRecords, MemoryControl, MemoryAudit):
    """A ``handler.ledger.backend.Transaction`` on dicts. It changes them at once, and cannot be undone."""

    def __init__(self, tables: Tables, now: float) -> None:
        super().__init__(tables, now)
        self._slots = MemorySlots(tables, now)
        self.journal = MemoryJournal(tables, now)

    def load(self, key: Key) -> Row | None:
        """Read a row."""
        return self._tables.rows.get(key)

    def save(self, key: Key, row: Row, journal: str) -> None:
        """Write a row, and add to its journal."""
        tables = self._tables
        tables.add_to_journal(key, journal)
        tables.rows[key] = row
        tables.idle.pop(key, None)
        if row.idle:
            tables.idle[key] = None

    def quick(self, change: QuickChange) -> bool:
        """Leave it to the rules, which cost nothing to ask here."""
        return False

    def slots(self, groups: Sequence[str]) -> Slots:
        """Return the slots of groups."""
        return self._slots.load(groups)

    def move_slot(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Write a row's slot."""
        self._slots.move(key, after)

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        return self._slots.running()

    def flush(self) -> None:
        """Write the sums; delete the idle row that was written first where there are too many."""
        self.journal.flush()
        if len(self._tables.idle) > self._tables.max_idle:
            self._tables.delete(next(iter(self._tables.idle)))

    def forget_old(self, before: float) -> None:
        """Delete what is too old of operators' acts."""
        self.forget_acts(before)

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows."""
        rows = self._old(before).values()
        times = [row.updated_at for row in rows]
        without_end = sum(not row.settled for row in rows)
        return Prunable(len(rows), without_end, min(times, default=None), max(times, default=None), self.now)

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete all old rows, whatever the limit: each step would read all rows to find some."""
        tables, old = self._tables, self._old(before)
        for key in old:
            tables.delete(key)
            tables.pruned[key] = None
        while len(tables.pruned) > tables.max_idle:
            del tables.pruned[next(iter(tables.pruned))]
        return len(old)

    def _old(self, before: Cutoff) -> dict[Key, Row]:
        rows, with_message = self._tables.rows, self._tables.with_message()
        return {key: row for key, row in rows.items() if before.covers(row) and key not in with_message}

    def has_forgotten(self, key: Key) -> bool:
        """Look for a tombstone."""
        return key in self._tables.pruned

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""
        rows = [
            Known(key, row, self._tables.journals[key])
            for key, row in self._tables.rows.items()
            if key.snapshot_id == snapshot_id and project_id in (None, key.project_id)
        ]
        return joined(rows, self.records_of(snapshot_id, project_id))

    def touch(self) -> None:
        """Do nothing: memory can always be written."""

    def state_key(self) -> str:
        """Return the key of this process."""
        return self._tables.state_key


class MemoryStore(TransactionalStore):
    """A store whose transactions await nothing, so that each is alone on its event loop."""

    def __init__(
        self, clock: Callable[[], float], *, max_idle: int = MAX_IDLE, notify: OnLedgerCommit = noop
    ) -> None:
        self._notify = notify
        self._clock = clock
        self._tables = Tables(clock(), max_idle)
        self._closed = False

    @override
    async def _run(
        self,
        work: Callable[[Transaction], T],
        key: Key | None = None,
        copy: str | None = None,
        groups: Sequence[str] = (),
        quick: Quick[T] | None = None,
    ) -> T:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        transaction = MemoryTransaction(self._tables, self._clock())
        answer = work(transaction)
        transaction.flush()
        self._notify(_ONE_CHANGE)
        return answer

    @override
    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._tables = Tables(self._clock(), self._tables.max_idle)


class MemoryLedger(StoredLedger):
    """The ledger in memory. It knows nothing of other processes: then ``ask_first`` says to ask the API."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = 20.0,
        *,
        ask_first: bool = False,
        max_idle: int = MAX_IDLE,
        monotonic: Callable[[], float] = time.monotonic,
        notify: OnLedgerCommit = noop,
    ) -> None:
        store = MemoryStore(clock, max_idle=max_idle, notify=notify)
        super().__init__(store, lease_seconds=lease_seconds, ask_first=ask_first, monotonic=monotonic)
