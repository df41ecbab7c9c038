"""The ledger in memory, lost when the process ends: for ``LEDGER_URL=none``, and for tests."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.backup.workers import WorkerRecord, WorkerReport, Workers
from handler.errors import LedgerUnavailable
from handler.ledger.audit import MOST_ACTS, Act
from handler.ledger.columns import to_columns
from handler.ledger.control import REPLACED, SOON_SECONDS, Entry, Taken, WaitingChoice
from handler.ledger.inquiry import (
    By,
    Known,
    Overview,
    SnapshotRecord,
    StateCount,
    StateFilter,
    StateList,
    StateRecord,
    Sum,
    WaitingFilter,
    WaitingList,
    WaitingRecord,
    joined,
    merged,
    named_hour,
    sums,
)
from handler.ledger.journal import HOUR, MOST_CHARACTERS, Journal, published, waits
from handler.ledger.ledger import StoredLedger, new_state_key
from handler.ledger.ports import Change, LimitedChange
from handler.ledger.pruning import Cutoff, Prunable, cutoff
from handler.ledger.quick import Quick
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary, held_groups
from handler.ledger.row import STATES, UNSETTLED, Row, Slot
from handler.ledger.search import WAITING, Slice, Sliced
from handler.ledger.tombstones import PRUNED
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
    journal: str
    swept: int = 0

    @property
    def key(self) -> Key:
        """The snapshot that the message is about, as far as it names one."""
        return Key(self.waiting.project_id or "", self.waiting.snapshot_id or "")

    def shown(self) -> WaitingRecord:
        """Return it for the operator."""
        waiting = self.waiting
        about = (waiting.project_id, waiting.snapshot_id, waiting.reason, waiting.waits)
        return WaitingRecord(*about, self.recorded_at, self.due_at, self.swept)

    def is_of(self, choice: WaitingChoice) -> bool:
        """Return whether the choice is of this message."""
        waiting = self.waiting
        return (
            self.recorded_at <= choice.recorded_by
            and choice.project in (None, waiting.project_id)
            and choice.reason in (None, waiting.reason)
            and choice.snapshot in (None, waiting.snapshot_id)
        )

    def taken(self) -> Taken:
        """Return it to be brought back."""
        waiting = self.waiting
        about = (waiting.project_id, waiting.snapshot_id)
        return Taken(waiting.id, waiting.body, waiting.waits, self.due_at, *about)


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
        self._entries: dict[tuple[str, str], Entry] = {}
        self._acts: dict[tuple[str, str], Act] = {}
        self._replaced: dict[tuple[str, int], float] = {}
        self._workers: dict[tuple[str, str], WorkerRecord] = {}
        self._state_key = new_state_key()
        self._journals: dict[Key, str] = {}
        self._sums: Counter[tuple[int, str, str, str]] = Counter()
        self._pruned: dict[Key, None] = {}
        self._closed = False

    async def change(self, key: Key, change: Change[T], quick: Quick[T] | None = None) -> T:
        """Change a row."""
        self._commit()
        now = self._clock()
        answer, row = change(self._load(key), now)
        if row is not None:
            self._save(key, row, now)
        return answer

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row that may get a slot."""
        self._commit()
        now = self._clock()
        for group in groups:
            counts = Counter(held.project_id for held in self._holders(group, now))
            known = self._slots.queues.get(group, {}), self._slots.paces.get(group)
            self._slots.load(group, counts, *known)
        answer, row = change(self._load(key), now, self._slots)
        if row is not None:
            self._save(key, row, now)
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

    def _load(self, key: Key) -> Row | None:
        return self._rows.get(key, PRUNED if key in self._pruned else None)

    def _save(self, key: Key, row: Row, now: float) -> None:
        journal = Journal(now)
        self._journals[key] = _added(
            self._journals.get(key, ""), journal.changed(key, self._rows.get(key), row)
        )
        for hour, project, what, reason, number in journal.sums():
            self._sums[hour, project, what, reason] += number
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
        self._journals.pop(key, None)

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
        self._acts = {key: act for key, act in self._acts.items() if act.at > before.unsettled}
        old = self._old(before)
        for key in old:
            self._delete(key)
            self._pruned[key] = None
        while len(self._pruned) > self._max_idle:
            del self._pruned[next(iter(self._pruned))]
        self._sums = Counter({key: n for key, n in self._sums.items() if key[0] >= before.settled // HOUR})
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
        journal = _added(found.journal if found else "", waits(waiting, now))
        self._waiting[waiting.id] = _Record(waiting, now, due, due, journal)
        return True

    async def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        self._commit()
        if (found := self._waiting.pop(waiting_id, None)) is None:
            return
        if found.key in self._rows:
            moved = found.journal + published(self._clock())
            self._journals[found.key] = _added(self._journals.get(found.key, ""), moved)

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

        rows = [Known(key, row, self._journals[key]) for key, row in self._rows.items() if wanted(*key)]
        records = [each for each in self._waiting.values() if wanted(*each.key)]
        return joined(rows, [(each.shown(), each.journal) for each in records])

    async def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""
        self._commit()
        if which.place == WAITING:
            bodies = {each.key: each.waiting.body for each in self._waiting.values()}
            found = [key for key, body in bodies.items() if which.values["bytes"] in body]
            return Sliced(found, len(bodies), None)
        state, _, category = which.place.partition("/")
        rows = {
            key: to_columns(row)[-1]
            for key, row in self._rows.items()
            if row.standing == state and (row.category or "") == category
        }
        texts = [which.values[name] for name in ("exact", "replay")]
        return Sliced([key for key, row in rows.items() if any(t in row for t in texts)], len(rows), None)

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

    async def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""
        self._commit()
        rows = [StateRecord(key, row) for key, row in self._rows.items() if which.admits(key, row)]
        rows.sort(key=lambda each: each.row.updated_at, reverse=not which.oldest_first)
        return merged([rows], which, self._clock())

    async def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""
        self._commit()
        states = {name: [row for row in self._rows.values() if row.standing == name] for name in UNSETTLED}
        reasons = Counter(each.waiting.reason for each in self._waiting.values())
        due = {
            name: min(each.due_at for each in self._waiting.values() if each.waiting.reason == name)
            for name in sorted(reasons)
        }
        return Overview(
            {
                name: StateCount(len(rows), min((row.updated_at for row in rows), default=None))
                for name, rows in states.items()
            },
            {name: StateCount(reasons[name], oldest) for name, oldest in due.items()},
            await self.outcomes(since, None, "hour"),
            self._clock(),
        )

    async def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes."""
        self._commit()
        first, last = since // HOUR, inf if until is None else until // HOUR
        counts = Counter[tuple[str, str]]()
        for (hour, project, what, reason), number in self._sums.items():
            if first <= hour < last:
                counts[_group(by, hour * HOUR, project, reason), what] += number
        return sums(counts)

    async def report(
        self, since: float, until: float | None, by: By, project_id: str | None
    ) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""
        self._commit()
        which = StateFilter(STATES, 0, project_id, since=since, until=until)
        rows = [(key, row) for key, row in self._rows.items() if which.admits(key, row)]
        found = [
            (_group(by, row.updated_at, key.project_id, row.category), row.standing) for key, row in rows
        ]
        messages = {
            (_group(by, each.recorded_at, key.project_id, None), key)
            for each in self._waiting.values()
            if (key := each.key) not in self._rows
            and key.snapshot_id
            and project_id in (None, key.project_id)
            and since <= each.recorded_at < (inf if until is None else until)
        }
        return sums(Counter([*found, *((group, "waiting") for group, _ in messages)]))

    async def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""
        self._commit()
        return Workers([each for (name, _), each in self._workers.items() if name == queue], self._clock())

    async def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        self._commit()
        self._workers = {key: each for key, each in self._workers.items() if each.id != worker_id}

    async def entries(self, queue: str, report: WorkerReport | None = None) -> Sequence[Entry]:
        """Read what operators have set for a queue, and write a worker's report."""
        self._commit()
        if report is not None:
            now = self._clock()
            self._workers[queue, report.id] = WorkerRecord(*report[:4], now - report.uptime, now, *report[5:])
        replaced = Entry(REPLACED, max(self._replaced.values(), default=None))
        return [replaced, *(each for (name, _), each in self._entries.items() if name == queue)]

    async def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue."""
        self._commit()
        self._entries[queue, entry.what] = entry._replace(since=self._clock())

    async def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue."""
        self._commit()
        return self._entries.pop((queue, what), None) is not None

    async def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator, or the end of one."""
        self._commit()
        now, found = self._clock(), self._acts.get((queue, act.id))
        ended = None if act.outcome is None else now
        self._acts[queue, act.id] = act._replace(at=found.at if found else now, ended=ended)
        kept = [key for key in self._acts if key[0] == queue]
        if len(kept) > MOST_ACTS:
            del self._acts[kept[0]]

    async def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue."""
        self._commit()
        found = [act for (name, _), act in self._acts.items() if name == queue]
        return sorted(found, key=lambda act: -act.at)[:limit]

    async def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait."""
        self._commit()
        now = self._clock()
        found = [
            each
            for each in self._waiting.values()
            if (each.due_at > now + SOON_SECONDS or choice.also_due) and each.is_of(choice)
        ]
        return [each.taken() for each in sorted(found, key=lambda each: each.due_at)[: choice.limit]]

    async def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now."""
        self._commit()
        now, found = self._clock(), self._waiting.get(taken.id)
        if found is None or found.waiting.waits != taken.waits or found.due_at <= now:
            return False
        waiting = found.waiting._replace(body=body, waits=taken.waits + 1)
        self._waiting[taken.id] = _Record(waiting, now, now, now, found.journal)
        self._replaced[taken.id, taken.waits] = taken.due_at
        return True

    async def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended."""
        self._commit()
        found = self._waiting.get(taken.id)
        if found is not None and found.waiting.waits == taken.waits:
            del self._waiting[taken.id]
        self._replaced[taken.id, taken.waits] = taken.due_at

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether a copy of a message is replaced."""
        self._commit()
        return (waiting_id, waits) in self._replaced

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


def _group(by: By, at: float, project_id: str, category: str | None) -> str:
    return {"hour": named_hour(at // HOUR), "project": project_id, "category": category or ""}[by]


def _added(journal: str, lines: str) -> str:
    return (journal + lines)[-MOST_CHARACTERS:]


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
