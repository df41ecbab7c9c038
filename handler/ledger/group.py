"""Group commit: one thread and one connection run the changes of concurrent callers in shared transactions.

A commit costs one write to the disk, however many changes are in it. While one group is committed, the next
gathers in the queue: groups grow with the load, and no caller waits for a timer. The changes of one iteration
of an event loop are queued together; otherwise the first of them would be committed alone.

A disk or a server that hangs can keep that thread in a call which never returns. A second thread watches it:
after a time all callers get ``LedgerUnavailable``, new ones at once, until the first thread goes on.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key, Waiting
from handler.backup.workers import WorkerReport, Workers
from handler.errors import LedgerUnavailable
from handler.ledger.audit import Act
from handler.ledger.backend import Backend, Transaction
from handler.ledger.control import Entry, Taken, WaitingChoice
from handler.ledger.inquiry import (
    By,
    Overview,
    SnapshotRecord,
    StateFilter,
    StateList,
    Sum,
    WaitingFilter,
    WaitingList,
)
from handler.ledger.jobs import Answer, Job, Stop, deliver, post, queued
from handler.ledger.ports import Change, LimitedChange
from handler.ledger.pruning import Cutoff, Prunable, Steps, cutoff, rest
from handler.ledger.quick import Quick
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row
from handler.ledger.rules import Changed
from handler.ledger.search import Slice, Sliced
from handler.ledger.tombstones import PRUNED
from handler.ledger.waiting import Overdue, Take, WaitingSummary

T = TypeVar("T")

MAX_GROUP = 256
"""Most changes in one transaction, so that other processes can write in between."""

WATCHES = 8
"""How often the running group is looked at within the time after which it is stuck."""

CLOSE_SECONDS = 0.7
"""How long closing waits for the thread, since the process must end within a second after ``DRAIN_SECONDS``.
What is not committed by then is lost with the process, as in a crash."""


class GroupStore:
    """A store that shares a backend's transactions between callers, who may be on several event loops.

    ``notify`` is called on the thread that commits.
    """

    def __init__(self, backend: Backend, name: str, notify: OnLedgerCommit = noop) -> None:
        self._notify = notify
        self._backend = backend
        self._name = name
        self._queue: SimpleQueue[Job | Stop] = SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._began: float | None = None
        self._running: Sequence[Job] = ()
        self._stuck: LedgerUnavailable | None = None
        self._closed = False

    async def change(self, key: Key, change: Change[T], quick: Quick[T] | None = None) -> T:
        """Change a row, in a transaction shared with other callers."""

        def work(transaction: Transaction) -> T:
            if quick is not None and transaction.quick(quick.change):
                return quick.answer
            before = _load(transaction, key)
            return _save(transaction, key, before, change(before, transaction.now))

        return await self._run(work, key, quick=quick)

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row, while the slots of these groups are locked too."""

        def work(transaction: Transaction) -> T:
            before, slots = _load(transaction, key), transaction.slots(groups)
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
        """Delete old rows in small steps, with a rest after each, so that claims need not wait."""
        now = await self._run(lambda transaction: transaction.now) if as_of is None else as_of
        before = cutoff(older_than, as_of=now)
        await self._run(lambda transaction: transaction.forget_old(before.unsettled))
        total, steps, began = 0, Steps(), time.monotonic()
        while deleted := await self._run(lambda transaction: _delete(transaction, before, steps)):
            total += deleted
            await asyncio.sleep(rest(time.monotonic() - began))
            began = time.monotonic()
        await self._run(lambda transaction: transaction.journal.forget_sums(before.settled))
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

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        return await self._run(lambda transaction: transaction.overdue_by_delay(overdue))

    async def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages."""
        return await self._run(lambda transaction: transaction.waiting(overdue, longest))

    async def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot."""
        return await self._run(lambda transaction: transaction.snapshots(snapshot_id, project_id))

    async def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""
        return await self._run(lambda transaction: transaction.journal.search(which))

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        return await self._run(lambda transaction: transaction.list_waiting(which))

    async def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""
        return await self._run(lambda transaction: transaction.journal.list_states(which))

    async def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""
        return await self._run(lambda transaction: transaction.journal.overview(since))

    async def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes."""
        return await self._run(lambda transaction: transaction.journal.outcomes(since, until, by))

    async def report(
        self, since: float, until: float | None, by: By, project_id: str | None
    ) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""
        return await self._run(lambda transaction: transaction.journal.report(since, until, by, project_id))

    async def entries(self, queue: str, report: WorkerReport | None = None) -> Sequence[Entry]:
        """Read what operators have set for a queue, and write a worker's report."""

        def work(transaction: Transaction) -> Sequence[Entry]:
            if report is not None:
                transaction.report(queue, report)
            return transaction.entries(queue)

        return await self._run(work)

    async def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""
        return await self._run(lambda transaction: transaction.workers(queue))

    async def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        await self._run(lambda transaction: transaction.remove_worker(worker_id))

    async def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue; its time is that of the store."""
        await self._run(
            lambda transaction: transaction.save_entry(queue, entry._replace(since=transaction.now))
        )

    async def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""
        return await self._run(lambda transaction: transaction.delete_entry(queue, what))

    async def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator, or the end of one."""
        await self._run(lambda transaction: transaction.save_act(queue, act))

    async def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue."""
        return await self._run(lambda transaction: transaction.acts(queue, limit))

    async def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait."""
        return await self._run(lambda transaction: transaction.choose(choice))

    async def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, in a transaction shared with other callers."""
        return await self._run(lambda transaction: transaction.bring_back(taken, body))

    async def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended."""
        await self._run(lambda transaction: transaction.end(taken))

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether a copy of a message is replaced."""
        return await self._run(lambda transaction: transaction.is_replaced(waiting_id, waits))

    async def check(self) -> None:
        """Prove that the backend can be written."""
        await self._run(lambda transaction: transaction.touch())

    async def ping(self) -> None:
        """Prove that the backend answers; nothing is written."""
        await self._run(lambda transaction: transaction.now)

    async def state_key(self) -> str:
        """Return the key of waiting messages."""
        return await self._run(lambda transaction: transaction.state_key())

    async def aclose(self) -> None:
        """Run the changes that are queued, then close the connection and end the thread.

        A thread that does not end in time is left behind: it ends with the process.
        """
        with self._lock:
            self._closed, thread = True, self._thread
            self._thread = None
        if thread is None:
            return
        for loop in [*self._gathered]:
            self._enqueue(loop)
        loop = asyncio.get_running_loop()
        closed = loop.create_future()
        self._queue.put(Stop(loop, closed))
        await asyncio.wait({closed}, timeout=CLOSE_SECONDS)
        self._ended.set()
        if closed.done():
            thread.join()
        else:
            self._backend.interrupt()

    async def _run(
        self,
        work: Callable[[Transaction], T],
        key: Key | None = None,
        copy: str | None = None,
        groups: Sequence[str] = (),
        quick: Quick[T] | None = None,
    ) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger is closed")
            if self._stuck is not None:
                raise replace(self._stuck)
            self._start()
            if loop not in self._gathered:
                self._gathered[loop] = []
                loop.call_soon(self._enqueue, loop)
            self._gathered[loop].append(Job(work, key, copy, groups, loop, future, quick))
        return await future

    def _enqueue(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            jobs, stuck = self._gathered.pop(loop, []), self._stuck
            if stuck is None:
                for job in jobs:
                    self._queue.put(job)
        if stuck is not None:
            _refuse(jobs, stuck)

    def _start(self) -> None:
        if self._thread is None:
            # A daemon thread does not keep alive a program that forgot to close; what returned is on disk.
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
            threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()

    def _serve(self) -> None:
        while True:
            jobs, stop = self._next_group()
            self._note(jobs)
            answers = self._commit(jobs)
            self._note(None)
            deliver(jobs, answers)
            if stop is not None:
                self._backend.close()
                self._ended.set()
                post(stop.loop, [(stop.future, (None, None))])
                return

    def _note(self, jobs: Sequence[Job] | None) -> None:
        """Note that a group begins, or (None) that it has ended; then the thread is not stuck."""
        with self._lock:
            self._began = None if jobs is None else time.monotonic()
            self._running, self._stuck = jobs or (), None

    def _lasted(self) -> float:
        """Return for how many seconds a group has been running; 0 where none is."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def _watch(self) -> None:
        """Look often enough whether a group is stuck, until the store is closed."""
        while not self._ended.wait(self._backend.longest / WATCHES):
            if self._lasted() > self._backend.longest and self._stuck is None:
                self._give_up()

    def _give_up(self) -> None:
        """Answer all callers, and those to come, while the thread is stuck; try to end what it waits for."""
        with self._lock:
            began, longest = self._began, self._backend.longest
            if began is None or time.monotonic() - began < longest:
                return
            self._stuck = stuck = self._backend.stuck(longest)
            jobs = [*self._running, *self._drain_queue()]
        self._notify(LedgerCommit(len(jobs), failed=True, problem=stuck.summary))
        _refuse(jobs, stuck)
        self._backend.interrupt()

    def _drain_queue(self) -> list[Job]:
        """Take the jobs that have not begun: their callers try again, and no change is made twice."""
        items = list(queued(self._queue, wait=False))
        for item in items:
            if isinstance(item, Stop):
                self._queue.put(item)
        return [item for item in items if isinstance(item, Job)]

    def _next_group(self) -> tuple[list[Job], Stop | None]:
        jobs: list[Job] = []
        for item in queued(self._queue):
            if isinstance(item, Stop):
                return jobs, item
            jobs.append(item)
            if len(jobs) == MAX_GROUP:
                break
        return jobs, None

    def _commit(self, jobs: Sequence[Job]) -> list[Answer]:
        quick = [job.quick for job in jobs if job.quick is not None]
        if not quick or len(quick) < len(jobs):
            return self._commit_by_rules(jobs)
        try:
            made = self._backend.commit_quick([each.change for each in quick])
        except LedgerUnavailable as error:
            return self._failed(jobs, error)
        except Exception:  # noqa: BLE001 - the rules find out which change it was
            made = None
        if made is None:
            return self._commit_by_rules(jobs)
        if count := sum(made):
            self._notify(LedgerCommit(count))
        others = iter(self._commit_by_rules([job for job, done in zip(jobs, made, strict=True) if not done]))
        return [(each.answer, None) if done else next(others) for each, done in zip(quick, made, strict=True)]

    def _commit_by_rules(self, jobs: Sequence[Job]) -> list[Answer]:
        if not jobs:
            return []
        keys = [job.key for job in jobs if job.key is not None]
        copies = [job.copy for job in jobs if job.copy is not None]
        groups = sorted({group for job in jobs for group in job.groups})
        try:
            with self._backend.transaction(keys, copies, groups) as transaction:
                values = [job.work(transaction) for job in jobs]
        except LedgerUnavailable as error:
            return self._failed(jobs, error)
        except Exception as error:  # noqa: BLE001 - its caller gets it; this thread goes on
            if len(jobs) > 1:
                return self._commit_singly(jobs)
            what = jobs[0].key or jobs[0].copy
            return [(None, LedgerUnavailable(f"the ledger cannot store {what}: {error!r}"))]
        self._notify(LedgerCommit(len(jobs)))
        return [(value, None) for value in values]

    def _failed(self, jobs: Sequence[Job], error: LedgerUnavailable) -> list[Answer]:
        self._notify(LedgerCommit(len(jobs), failed=True, problem=error.summary))
        return [(None, replace(error)) for _ in jobs]

    def _commit_singly(self, jobs: Sequence[Job]) -> list[Answer]:
        """Run each job in a transaction of its own: one of them fails, and nothing was committed."""
        return [answer for job in jobs for answer in self._commit_by_rules([job])]


def _load(transaction: Transaction, key: Key) -> Row | None:
    """Read a row; one that was pruned, or may be lost, says that a request may have left."""
    row = transaction.load(key)
    return PRUNED if row is None and transaction.has_forgotten(key) else row


def _save(transaction: Transaction, key: Key, before: Row | None, changed: Changed[T]) -> T:
    """Save a changed row, and its slot if that has changed; return the answer."""
    answer, row = changed
    if row is not None:
        slot = before.slot if before else None
        transaction.save(key, row, transaction.journal.changed(key, before, row))
        if slot != row.slot:
            transaction.move_slot(key, slot, row.slot)
    return answer


def _delete(transaction: Transaction, before: Cutoff, steps: Steps) -> int:
    """Delete a step's rows; return how many."""
    began = time.monotonic()
    deleted = transaction.delete(before, limit=steps.rows)
    steps.took(time.monotonic() - began)
    return deleted


def _refuse(jobs: Sequence[Job], error: LedgerUnavailable) -> None:
    """Let each caller have the error, as an exception of its own."""
    deliver(jobs, [(None, replace(error)) for _ in jobs])
