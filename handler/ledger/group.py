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
from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import TypeVar

from typing_extensions import override

from handler.backup.hooks import LedgerCommit, OnLedgerCommit, noop
from handler.backup.ports import Key
from handler.errors import LedgerUnavailable
from handler.ledger.backend import Backend, Transaction
from handler.ledger.jobs import Answer, Job, Stop, deliver, post, queued
from handler.ledger.quick import Quick
from handler.ledger.transactional import TransactionalStore

T = TypeVar("T")

MAX_GROUP = 256
"""Most changes in one transaction, so that other processes can write in between."""

WATCHES = 8
"""How often the running group is looked at within the time after which it is stuck."""

CLOSE_SECONDS = 0.7
"""How long closing waits for the thread, since the process must end within a second after ``DRAIN_SECONDS``.
What is not committed by then is lost with the process, as in a crash."""


class GroupStore(TransactionalStore):
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

    @override
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
        self._notify(LedgerCommit(len(jobs), failed=True, problem=error.summary, place=error.place))
        return [(None, replace(error)) for _ in jobs]

    def _commit_singly(self, jobs: Sequence[Job]) -> list[Answer]:
        """Run each job in a transaction of its own: one of them fails, and nothing was committed."""
        return [answer for job in jobs for answer in self._commit_by_rules([job])]

    def _note(self, jobs: Sequence[Job] | None) -> None:
        """Note that a group begins, or (None) that it has ended; then the thread is not stuck."""
        with self._lock:
            self._began = None if jobs is None else time.monotonic()
            self._running, self._stuck = jobs or (), None

    def _watch(self) -> None:
        """Look often enough whether a group is stuck, until the store is closed."""
        while not self._ended.wait(self._backend.longest / WATCHES):
            if self._lasted() > self._backend.longest and self._stuck is None:
                self._give_up()

    def _lasted(self) -> float:
        """Return for how many seconds a group has been running; 0 where none is."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def _give_up(self) -> None:
        """Answer all callers, and those to come, while the thread is stuck; try to end what it waits for."""
        with self._lock:
            began, longest = self._began, self._backend.longest
            if began is None or time.monotonic() - began < longest:
                return
            self._stuck = stuck = self._backend.stuck(longest)
            jobs = [*self._running, *self._drain_queue()]
        self._notify(LedgerCommit(len(jobs), failed=True, problem=stuck.summary, place=stuck.place))
        _refuse(jobs, stuck)
        self._backend.interrupt()

    def _drain_queue(self) -> list[Job]:
        """Take the jobs that have not begun: their callers try again, and no change is made twice."""
        items = list(queued(self._queue, wait=False))
        for item in items:
            if isinstance(item, Stop):
                self._queue.put(item)
        return [item for item in items if isinstance(item, Job)]

    @override
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


def _refuse(jobs: Sequence[Job], error: LedgerUnavailable) -> None:
    """Let each caller have the error, as an exception of its own."""
    deliver(jobs, [(None, replace(error)) for _ in jobs])
