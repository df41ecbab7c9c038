"""Acts on the dead letters that take a while: replays, drops and undos, one at a time, with their progress.

Each is in the audit journal. A job that is broken off leaves each dead letter where it was, or
where it was to go: see ``handler.dead_letters.replaying``.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from events.state_keys import StateKeys
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import declare
from handler.console.audit import BUG, Audit
from handler.console.job import DONE, Job
from handler.console.ledger_access import LedgerAccess
from handler.console.looks import Looks
from handler.console.orders import DropOrder, ReplayOrder
from handler.dead_letters.archive import ArchiveReader
from handler.dead_letters.dropping import drop
from handler.dead_letters.putting_back import Returned, put_back_all
from handler.dead_letters.queue_session import QueueSession
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes, record_outcomes
from handler.dead_letters.replaying import Replay
from handler.errors import SettingsError, SnapshotBackupError
from handler.redaction import redacted
from handler.settings import Settings

_REMEMBERED = 20
_ID = re.compile("[0-9a-f]{12}")
_ENDS = {"stopped": "stopped", "failures": "stopped: too many failed again", "done": DONE}


class JobRunning(SnapshotBackupError):
    """Another job runs; ``job`` says which."""

    def __init__(self, job: Job) -> None:
        super().__init__("another replay, drop or undo is running; wait for its end, or stop it")
        self.job = job


class NoExport(SnapshotBackupError):
    """No file has what the drop removed."""

    def __init__(self) -> None:
        super().__init__("this job has exported nothing, or its file is gone")


class Jobs:
    """Runs jobs, and remembers the latest. ``clock`` gives seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        ledger: LedgerAccess,
        looks: Looks,
        audit: Audit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._looks = looks
        self._audit = audit
        self.folder = Path()
        """Where drops export to."""
        self._clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def all(self) -> list[Job]:
        """Return the jobs since the start of this process, the latest first."""
        return list(reversed(self._jobs.values()))

    def get(self, id_: str) -> Job | None:
        """Return a job by its id."""
        return self._jobs.get(id_)

    @property
    def running(self) -> Job | None:
        """The job that runs now."""
        return next((job for job in self._jobs.values() if job.state == "running"), None)

    def replay(self, who: str, order: ReplayOrder, wanted: int | None = None) -> Job:
        """Start a replay. Raises ``JobRunning``."""
        job = Job("replay", who, order.text(), self._clock(), wanted=wanted)
        return self._start(job, self._replay(job, order))

    def drop(self, who: str, order: DropOrder, wanted: int | None = None) -> Job:
        """Start a drop. Raises ``JobRunning``."""
        job = Job("drop", who, order.text(), self._clock(), wanted=wanted)
        job.file = self.folder / f"dead-letters-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{job.id}.jsonl"
        return self._start(job, self._drop(job, order))

    def undo(self, who: str, id_: str) -> Job:
        """Put back what a drop has removed, also one of an earlier process.

        Raises ``JobRunning``, and ``NoExport`` where the drop has left no file.
        """
        drop = self._jobs.get(id_)
        file = self._export(id_)
        if file is None:
            raise NoExport
        job = Job("undo", who, f"drop {id_}", self._clock(), file=file, undo_of=id_)
        self._start(job, self._undo(job, file))
        if drop:
            drop.undone_by = job
        return job

    def can_undo(self, id_: str) -> bool:
        """Return whether a job is a drop with an export that no undo has put back."""
        drop = self._jobs.get(id_)
        return drop.can_be_undone if drop else self._export(id_) is not None

    def _export(self, id_: str) -> Path | None:
        """Find the export of a drop; that of an earlier process by its name."""
        if drop := self._jobs.get(id_):
            return drop.exported if drop.kind == "drop" else None
        found = self.folder.glob(f"dead-letters-*-{id_}.jsonl") if _ID.fullmatch(id_) else ()
        return next((each for each in found if each.stat().st_size), None)

    async def aclose(self) -> None:
        """Stop the running job, and wait until what is in flight is confirmed."""
        if self._task and (job := self.running):
            job.stop.set()
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self, job: Job, work: Coroutine[Any, Any, str]) -> Job:
        if running := self.running:
            work.close()
            raise JobRunning(running)
        self._jobs[job.id] = job
        while len(self._jobs) > _REMEMBERED:
            self._jobs.popitem(last=False)
        self._task = asyncio.create_task(self._run(job, work))
        return job

    async def _run(self, job: Job, work: Coroutine[Any, Any, str]) -> None:
        try:
            async with self._audit.act(job.who, job.kind, job.what, id_=job.id) as act:
                try:
                    act.outcome = job.end = await work
                finally:
                    act.number = job.count
            job.state = "ended"
        except SnapshotBackupError as error:
            job.end, job.state = redacted(str(error)), "failed"
        except BaseException:
            job.end, job.state = BUG, "failed"
            raise
        finally:
            job.ended = self._clock()
            self._looks.forget()

    async def _replay(self, job: Job, order: ReplayOrder) -> str:
        keys = await self._state_keys()
        async with await bootstrap.open_connection(self._settings) as connection:
            topology = bootstrap.topology(self._settings)
            await declare(connection, topology)
            threshold = order.stop_at / 100 if order.stop_at else None
            outcomes = ReplayOutcomes(threshold, tracked=self._settings.track_backups)
            job.outcomes = outcomes
            job.replay = Replay(
                outbox=BrokerOutbox(connection, topology, ignore_unroutable=False),
                exchange=topology.queue,
                keys=keys,
                rate_limiter=RateLimiter(order.rate),
                replay_outcomes=outcomes,
                stop=job.stop,
            )
            session = QueueSession(connection, topology, lambda: _wait(job))
            async with record_outcomes(connection, topology, outcomes):
                end = await job.replay.from_queue(session, order.filters(), limit=order.limit)
                if end == "done":
                    job.end = "all are sent back; the workers' outcomes follow"
                    await outcomes.wait_for_answers(job.stop)
        return _ENDS[end]

    async def _drop(self, job: Job, order: DropOrder) -> str:
        def progress(dropped: int) -> None:
            job.done = dropped

        async with await bootstrap.open_connection(self._settings) as connection:
            session = QueueSession(connection, bootstrap.topology(self._settings), lambda: _wait(job))
            async with session.open() as found:
                job.end = "running"
                await drop(found, order.filters(), order.limit, job.file, progress, job.stop)
        return _ENDS["stopped" if job.stop.is_set() else "done"]

    async def _undo(self, job: Job, file: Path) -> str:
        def progress(returned: Returned) -> None:
            job.done, job.there = returned

        # In a thread: the whole file is read and checked first.
        with await asyncio.to_thread(ArchiveReader, file) as exported:
            job.wanted = exported.total
            async with await bootstrap.open_connection(self._settings) as connection:
                topology = bootstrap.topology(self._settings)
                await declare(connection, topology)
                outbox = BrokerOutbox(connection, topology, ignore_unroutable=False)
                async with QueueSession(connection, topology, lambda: _wait(job)).open() as found:
                    job.end = "running"
                    await put_back_all(found, exported, outbox, progress, job.stop)
        return _ENDS["stopped" if job.stop.is_set() else "done"]

    async def _state_keys(self) -> StateKeys | None:
        """Return the keys that the workers verify. Raises ``SettingsError`` where they cannot be read."""
        if self._settings.unauthenticated:
            return None
        if keys := tuple(key.get_secret_value().encode() for key in self._settings.state_keys):
            return StateKeys(self._settings.snapshot_queue, keys)
        try:
            return await bootstrap.state_keys(self._settings, self._ledger.open())
        except SnapshotBackupError as error:
            raise SettingsError(
                "STATE_KEYS: what is sent back is signed with a key of the workers, and the ledger with "
                f"it cannot be read: {error}"
            ) from None


def _wait(job: Job) -> None:
    job.end = "waiting until another command has read the dead letters"
