"""Acts on the dead letters that take a while: replays and drops, one at a time, with their progress.

Each is logged when it begins and ends. A job that is broken off leaves each dead letter where it was, or
where it was to go: see ``handler.dead_letters.replaying``.
"""

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from events.state_keys import StateKeys
from handler import bootstrap
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import declare
from handler.console.ledger_access import LedgerAccess
from handler.console.looks import Looks
from handler.console.orders import DropOrder, ReplayOrder
from handler.dead_letters.dropping import drop
from handler.dead_letters.queue_session import QueueSession
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes, record_outcomes
from handler.dead_letters.replaying import Replay
from handler.errors import SettingsError, SnapshotBackupError
from handler.redaction import redacted
from handler.settings import Settings

log = logging.getLogger(__name__)

_REMEMBERED = 20
_ENDS = {"stopped": "stopped", "failures": "stopped: too many failed again", "done": "done"}

State = Literal["running", "ended", "failed"]


class JobRunning(SnapshotBackupError):
    """Another job runs; ``job`` says which."""

    def __init__(self, job: "Job") -> None:
        super().__init__("another replay or drop is running; wait for its end, or stop it")
        self.job = job


@dataclass
class Job:
    """One replay or drop. Times are seconds since the epoch."""

    kind: Literal["replay", "drop"]
    who: str
    what: str
    began: float
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    state: State = "running"
    ended: float | None = None
    end: str = "running"
    done: int = 0
    wanted: int | None = None
    file: Path | None = None
    replay: Replay | None = None
    outcomes: ReplayOutcomes | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "who": self.who,
            "what": self.what,
            "began": _text(self.began),
            "ended": _text(self.ended),
            "state": self.state,
            "end": self.end,
            "done": self.replay.sent if self.replay else self.done,
            "wanted": self.wanted,
            "accepted": self.outcomes.accepted if self.outcomes else 0,
            "completed": self.outcomes.completed if self.outcomes else 0,
            "failed_again": self.outcomes.failed if self.outcomes else 0,
            "file": self.file.name if self.file and self.done else None,
        }


class Jobs:
    """Runs jobs, and remembers the latest. ``clock`` gives seconds since the epoch."""

    def __init__(
        self,
        settings: Settings,
        ledger: LedgerAccess,
        looks: Looks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._looks = looks
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
        _log(job, "began")
        self._task = asyncio.create_task(self._run(job, work))
        return job

    async def _run(self, job: Job, work: Coroutine[Any, Any, str]) -> None:
        try:
            job.end = await work
            job.state = "ended"
        except SnapshotBackupError as error:
            job.end, job.state = redacted(str(error)), "failed"
        except BaseException:
            job.end, job.state = "an error within the console; its log says more", "failed"
            raise
        finally:
            job.ended = self._clock()
            self._looks.forget()
            _log(job, job.end)

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


def _log(job: Job, end: str) -> None:
    facts = job.document()
    log.info(
        "%s: %s of dead letters (%s): %s; %s done",
        job.who,
        job.kind,
        job.what,
        end,
        facts["done"],
        extra={"action": "console.act", "job": job.id, "end": end},
    )


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
