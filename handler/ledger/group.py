"""Group commit: one thread and one connection run the changes of concurrent callers in shared transactions.

A commit costs one write to the disk, however many changes are in it. While one group is committed, the next
gathers in the queue: groups grow with the load, and no caller waits for a timer. The changes of one iteration
of an event loop are queued together; otherwise the first of them would be committed alone.
"""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable
from handler.ledger.inquiry import SnapshotRecord, WaitingFilter, WaitingList
from handler.ledger.ledger import Change, LimitedChange
from handler.ledger.pruning import Cutoff, Prunable, cutoff
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row, Slot
from handler.ledger.rules import Changed
from handler.ledger.waiting import Copy, Overdue, Take, WaitingSummary

T = TypeVar("T")

MAX_GROUP = 256
"""Most changes in one transaction, so that other processes can write in between."""

PRUNE_ROWS = 1000
"""Most rows deleted in one transaction, for the same reason."""


class Transaction(Protocol):
    """An open transaction; ``now`` is seconds since the epoch, read once the lock is held."""

    now: float

    def load(self, key: Key) -> Row | None:
        """Read a row. It stays locked until the end of the transaction."""

    def save(self, key: Key, row: Row) -> None:
        """Insert or replace a row."""

    def slots(self, groups: Sequence[str]) -> Slots:
        """Return the slots of groups, locked until the end of the transaction, which writes their changes."""

    def move_slot(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Count a row's slot where it has changed."""

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows."""

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete old rows; return how many."""

    def load_copy(self, waiting_id: str) -> Copy | None:
        """Read what is recorded of a waiting message, whose id the transaction began with."""

    def record(self, waiting: Waiting) -> None:
        """Insert or replace the record of a waiting message."""

    def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""

    def forget_old(self, before: float) -> None:
        """Delete the records of messages that were due before."""

    def hold_sweep(self, owner: str, lease: float) -> bool:
        """Hold the sweep for ``lease`` seconds; False where another process holds it."""

    def take(self, overdue: float, limit: int) -> Sequence[Overdue]:
        """Read up to ``limit`` messages overdue for so many seconds, and put off when each is taken again."""

    def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages, and find snapshots that have had none for ``longest`` seconds."""

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""

    def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""

    def touch(self) -> None:
        """Write a row that holds no promise, to prove that writing works."""

    def state_key(self) -> str:
        """Read the key of waiting messages; write one where there is none."""


class Backend(Protocol):
    """A database, used from one thread only."""

    def transaction(
        self, keys: Sequence[Key], copies: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> AbstractContextManager[Transaction]:
        """Run the block in a transaction that locks ``keys``, and commit. Raises ``LedgerUnavailable``.

        ``copies`` are the ids of waiting messages whose record is read, ``groups`` those of slots.
        """

    def close(self) -> None:
        """Close the connection, if any; the next transaction opens another."""


class _Job(NamedTuple):
    work: Callable[[Transaction], Any]
    key: Key | None
    copy: str | None
    groups: Sequence[str]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Stop(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Answer = tuple[Any, Exception | None]


class GroupStore:
    """A store that shares a backend's transactions between callers, who may be on several event loops.

    ``notify`` is called on the thread that commits.
    """

    def __init__(self, backend: Backend, name: str, notify: OnLedgerCommit = noop) -> None:
        self._notify = notify
        self._backend = backend
        self._name = name
        self._queue: SimpleQueue[_Job | _Stop] = SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def change(self, key: Key, change: Change[T]) -> T:
        """Change a row, in a transaction shared with other callers."""

        def work(transaction: Transaction) -> T:
            before = transaction.load(key)
            return _save(transaction, key, before, change(before, transaction.now))

        return await self._run(work, key)

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row, while the slots of these groups are locked too."""

        def work(transaction: Transaction) -> T:
            before, slots = transaction.load(key), transaction.slots(groups)
            return _save(transaction, key, before, change(before, transaction.now, slots))

        return await self._run(work, key, groups=groups)

    async def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        return await self._run(lambda transaction: transaction.running())

    async def look_up(self, key: Key) -> Row | None:
        """Read a row. Its key is not handed to the transaction, which would lock or even insert the row."""
        return await self._run(lambda transaction: transaction.load(key))

    async def prunable(self, older_than: float) -> Prunable:
        """Count old rows."""
        return await self._run(
            lambda transaction: transaction.count(cutoff(older_than, as_of=transaction.now))
        )

    async def prune(self, older_than: float, *, as_of: float | None = None) -> int:
        """Delete old rows, ``PRUNE_ROWS`` at a time, so that claims can be made in between."""
        now = await self._run(lambda transaction: transaction.now) if as_of is None else as_of
        before = cutoff(older_than, as_of=now)
        await self._run(lambda transaction: transaction.forget_old(before.unsettled))
        total = 0
        while deleted := await self._run(lambda transaction: transaction.delete(before, limit=PRUNE_ROWS)):
            total += deleted
        return total

    async def record(self, waiting: Waiting, *, drop_copy: bool) -> bool:
        """Record a waiting message, in a transaction shared with other callers."""

        def work(transaction: Transaction) -> bool:
            if drop_copy:
                copy = transaction.load_copy(waiting.id)
                if copy is not None and copy.is_ahead_of(waiting, transaction.now):
                    return False
            transaction.record(waiting)
            return True

        return await self._run(work, copy=waiting.id if drop_copy else None)

    async def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        await self._run(lambda transaction: transaction.forget(waiting_id))

    async def take(self, take: Take) -> Sequence[Overdue] | None:
        """Take overdue messages; None where another process sweeps."""

        def work(transaction: Transaction) -> Sequence[Overdue] | None:
            if not transaction.hold_sweep(take.owner, take.lease):
                return None
            return transaction.take(take.overdue, take.limit) if take.limit else ()

        return await self._run(work)

    async def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages."""
        return await self._run(lambda transaction: transaction.waiting(overdue, longest))

    async def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot."""
        return await self._run(lambda transaction: transaction.snapshots(snapshot_id, project_id))

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        return await self._run(lambda transaction: transaction.list_waiting(which))

    async def check(self) -> None:
        """Prove that the backend can be written."""
        await self._run(lambda transaction: transaction.touch())

    async def state_key(self) -> str:
        """Return the key of waiting messages."""
        return await self._run(lambda transaction: transaction.state_key())

    async def aclose(self) -> None:
        """Run the changes that are queued, then close the connection and end the thread."""
        with self._lock:
            self._closed, thread = True, self._thread
            self._thread = None
        if thread is None:
            return
        for loop in [*self._gathered]:
            self._enqueue(loop)
        loop = asyncio.get_running_loop()
        closed = loop.create_future()
        self._queue.put(_Stop(loop, closed))
        await closed
        thread.join()

    async def _run(
        self,
        work: Callable[[Transaction], T],
        key: Key | None = None,
        copy: str | None = None,
        groups: Sequence[str] = (),
    ) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger is closed")
            self._start()
            if loop not in self._gathered:
                self._gathered[loop] = []
                loop.call_soon(self._enqueue, loop)
            self._gathered[loop].append(_Job(work, key, copy, groups, loop, future))
        return await future

    def _enqueue(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            for job in self._gathered.pop(loop, ()):
                self._queue.put(job)

    def _start(self) -> None:
        if self._thread is None:
            # A daemon thread does not keep alive a program that forgot to close; what returned is on disk.
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()

    def _serve(self) -> None:
        while True:
            jobs, stop = self._next_group()
            _deliver(jobs, self._commit(jobs))
            if stop is not None:
                self._backend.close()
                _post(stop.loop, [(stop.future, (None, None))])
                return

    def _next_group(self) -> tuple[list[_Job], _Stop | None]:
        jobs: list[_Job] = []
        for item in _queued(self._queue):
            if isinstance(item, _Stop):
                return jobs, item
            jobs.append(item)
            if len(jobs) == MAX_GROUP:
                break
        return jobs, None

    def _commit(self, jobs: Sequence[_Job]) -> list[_Answer]:
        if not jobs:
            return []
        keys = [job.key for job in jobs if job.key is not None]
        copies = [job.copy for job in jobs if job.copy is not None]
        groups = sorted({group for job in jobs for group in job.groups})
        try:
            with self._backend.transaction(keys, copies, groups) as transaction:
                values = [job.work(transaction) for job in jobs]
        except LedgerUnavailable as error:
            self._notify(LedgerCommit(len(jobs), failed=True))
            return [(None, LedgerUnavailable(*error.args)) for _ in jobs]
        except Exception as error:  # noqa: BLE001 - its caller gets it; this thread goes on
            if len(jobs) > 1:
                return self._commit_singly(jobs)
            what = jobs[0].key or jobs[0].copy
            return [(None, LedgerUnavailable(f"the ledger cannot store {what}: {error!r}"))]
        self._notify(LedgerCommit(len(jobs)))
        return [(value, None) for value in values]

    def _commit_singly(self, jobs: Sequence[_Job]) -> list[_Answer]:
        """Run each job in a transaction of its own: one of them fails, and nothing was committed."""
        return [answer for job in jobs for answer in self._commit([job])]


def _save(transaction: Transaction, key: Key, before: Row | None, changed: Changed[T]) -> T:
    """Save a changed row, and its slot if that has changed; return the answer."""
    answer, row = changed
    if row is not None:
        slot = before.slot if before else None
        transaction.save(key, row)
        if slot != row.slot:
            transaction.move_slot(key, slot, row.slot)
    return answer


def _queued(queue: "SimpleQueue[_Job | _Stop]") -> Iterator[_Job | _Stop]:
    """Wait for one item, then yield those that are queued already."""
    yield queue.get()
    with suppress(Empty):
        while True:
            yield queue.get_nowait()


def _deliver(jobs: Sequence[_Job], answers: Sequence[_Answer]) -> None:
    """Hand results back, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], _Answer]]] = defaultdict(list)
    for job, answer in zip(jobs, answers, strict=True):
        by_loop[job.loop].append((job.future, answer))
    for loop, settled in by_loop.items():
        _post(loop, settled)


def _post(loop: asyncio.AbstractEventLoop, settled: list[tuple[asyncio.Future[Any], _Answer]]) -> None:
    # RuntimeError: the event loop was closed meanwhile, so no caller waits for the result.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[asyncio.Future[Any], _Answer]]) -> None:
    for future, (value, error) in settled:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
