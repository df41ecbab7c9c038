"""The ledger in memory, lost when the process ends: for ``LEDGER_URL=none``, and for tests."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable
from handler.ledger.inquiry import SnapshotRecord, WaitingFilter, WaitingList, WaitingRecord, joined
from handler.ledger.ledger import Change, LimitedChange, StoredLedger, new_state_key
from handler.ledger.pruning import Cutoff, Prunable, cutoff
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary, held_groups
from handler.ledger.row import Row, Slot
from handler.ledger.waiting import Copy, Overdue, Take, WaitingSummary, by_delay, next_sweep, stranded

T = TypeVar("T")

_ONE_CHANGE = LedgerCommit(1)

MAX_IDLE = 100_000
"""Default of ``max_idle``: the most rows kept that are neither claimed nor in doubt."""


@dataclass
class _Record:
    """A recorded message, when it is due, and when a sweep may take it."""

    waiting: Waiting
    recorded_at: float
    due_at: float
    sweep_at: float
    swept: int = 0

    def shown(self) -> WaitingRecord:
        """Return it for the operator."""
        waiting = self.waiting
        about = (waiting.project_id, waiting.snapshot_id, waiting.reason, waiting.waits)
        return WaitingRecord(*about, self.recorded_at, self.due_at, self.swept)


class MemoryStore:
    """Rows in a dict. No method awaits, so each is a transaction of its own on its event loop.

    Of the rows that are neither claimed nor in doubt, ``max_idle`` are kept: those that were written last.
    """

    def __init__(
        self, clock: Callable[[], float], *, max_idle: int = MAX_IDLE, notify: OnLedgerCommit = noop
    ) -> None:
        self._notify = notify
        self._max_idle = max_idle
        self._clock = clock
        self._rows: dict[Key, Row] = {}
        self._idle: dict[Key, None] = {}
        self._waiting: dict[str, _Record] = {}
        self._held: dict[Key, Slot] = {}
        self._slots = Slots()
        self._since = clock()
        self._sweeper = ("", 0.0)
        self._state_key = new_state_key()
        self._closed = False

    async def change(self, key: Key, change: Change[T]) -> T:
        """Change a row."""
        self._commit()
        answer, row = change(self._rows.get(key), self._clock())
        if row is not None:
            self._save(key, row)
        return answer

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row that may get a slot."""
        self._commit()
        now = self._clock()
        for group in groups:
            counts = Counter(held.project_id for held in self._holders(group, now))
            known = self._slots.queues.get(group, {}), self._slots.paces.get(group)
            self._slots.load(group, counts, *known)
        answer, row = change(self._rows.get(key), now, self._slots)
        if row is not None:
            self._save(key, row)
        return answer

    async def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        self._commit()
        now = self._clock()
        groups = {group for slot in self._held.values() for group in held_groups(slot, now)}
        holders = {group: self._holders(group, now) for group in groups}
        long = {
            group: sum(self._held[key].since <= now - LONG_SECONDS for key in keys)
            for group, keys in holders.items()
        }
        waiting = sum(each.waiting.reason == "room" for each in self._waiting.values())
        return RunningSummary(
            {group: Running(len(keys), long[group]) for group, keys in holders.items()}, waiting
        )

    def _holders(self, group: str, now: float) -> Sequence[Key]:
        return [key for key, slot in self._held.items() if group in held_groups(slot, now)]

    def _save(self, key: Key, row: Row) -> None:
        if row.slot is None:
            self._held.pop(key, None)
        else:
            self._held[key] = row.slot
        self._rows[key] = row
        self._idle.pop(key, None)
        if row.idle:
            self._idle[key] = None
        if len(self._idle) > self._max_idle:
            self._delete(next(iter(self._idle)))

    def _delete(self, key: Key) -> None:
        del self._rows[key]
        self._idle.pop(key, None)
        self._held.pop(key, None)

    async def look_up(self, key: Key) -> Row | None:
        """Read a row."""
        self._commit()
        return self._rows.get(key)

    async def prunable(self, older_than: float) -> Prunable:
        """Count old rows."""
        self._commit()
        now = self._clock()
        rows = self._old(cutoff(older_than, as_of=now)).values()
        times = [row.updated_at for row in rows]
        without_end = sum(not row.settled for row in rows)
        return Prunable(len(times), without_end, min(times, default=None), max(times, default=None), now)

    async def prune(self, older_than: float, *, as_of: float | None = None) -> int:
        """Delete old rows."""
        self._commit()
        before = cutoff(older_than, as_of=self._clock() if as_of is None else as_of)
        self._waiting = {key: each for key, each in self._waiting.items() if each.due_at > before.unsettled}
        old = self._old(before)
        for key in old:
            self._delete(key)
        return len(old)

    def _old(self, before: Cutoff) -> dict[Key, Row]:
        with_message = self._with_message()
        return {key: row for key, row in self._rows.items() if before.covers(row) and key not in with_message}

    def _with_message(self) -> set[tuple[str | None, str | None]]:
        return {(each.waiting.project_id, each.waiting.snapshot_id) for each in self._waiting.values()}

    async def record(self, waiting: Waiting, *, drop_copy: bool) -> bool:
        """Record a waiting message."""
        self._commit()
        now, found = self._clock(), self._waiting.get(waiting.id)
        if drop_copy and found and Copy(found.waiting.waits, found.due_at).is_ahead_of(waiting, now):
            return False
        due = now + waiting.seconds
        self._waiting[waiting.id] = _Record(waiting, now, due, due)
        return True

    async def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        self._commit()
        self._waiting.pop(waiting_id, None)

    async def take(self, take: Take) -> Sequence[Overdue] | None:
        """Take overdue messages."""
        self._commit()
        now, (owner, until) = self._clock(), self._sweeper
        if owner != take.owner and until > now:
            return None
        self._sweeper = (take.owner, now + take.lease)
        due = [each for each in self._waiting.values() if each.sweep_at <= now - take.overdue]
        return [self._taken(each, now, take.overdue) for each in sorted(due, key=_sweep_at)[: take.limit]]

    def _taken(self, record: _Record, now: float, overdue: float) -> Overdue:
        waiting, swept = record.waiting, record.swept
        record.sweep_at, record.swept = next_sweep(now, swept) - overdue, swept + 1
        about = (waiting.project_id, waiting.snapshot_id)
        return Overdue(waiting.id, waiting.body, waiting.reason, record.due_at, swept, *about)

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        self._commit()
        before = self._clock() - overdue
        return by_delay(
            (each.waiting.seconds, 1) for each in self._waiting.values() if each.sweep_at <= before
        )

    async def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages."""
        self._commit()
        now, due = self._clock(), [each.due_at for each in self._waiting.values()]
        late = sum(each <= now - overdue for each in due)
        before, with_message = now - longest, self._with_message()
        rows = [
            (key, row)
            for key, row in self._rows.items()
            if row.updated_at <= before and before >= self._since and key not in with_message
        ]
        return WaitingSummary(len(due), late, min(due, default=None), stranded(rows), self._since, now)

    async def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot."""
        self._commit()

        def wanted(project: str | None, snapshot: str | None) -> bool:
            return snapshot == snapshot_id and project_id in (None, project)

        rows = [(key, row) for key, row in self._rows.items() if wanted(*key)]
        waiting = [each.shown() for each in self._waiting.values()]
        return joined(rows, [each for each in waiting if wanted(each.project_id, each.snapshot_id)])

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        self._commit()
        found = [
            each
            for each in sorted(
                (each.shown() for each in self._waiting.values()), key=lambda each: each.due_at
            )
            if which.project_id in (None, each.project_id) and which.reason in (None, each.reason)
        ]
        return WaitingList(found[: which.limit], len(found), self._clock())

    async def check(self) -> None:
        """Raise ``LedgerUnavailable`` where the store is closed."""
        self._commit()

    async def ping(self) -> None:
        """Raise ``LedgerUnavailable`` where the store is closed."""
        await self.check()

    def _commit(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        self._notify(_ONE_CHANGE)

    async def state_key(self) -> str:
        """Return the key of this process."""
        await self.check()
        return self._state_key

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._rows.clear()
        self._idle.clear()
        self._waiting.clear()
        self._held.clear()


def _sweep_at(record: _Record) -> float:
    return record.sweep_at


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
