"""``ControlWatch``: reads from the ledger what operators have set, and has it apply to this process.

A worker's report is written with it, in the same transaction.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from handler.backup.control import Control, Pause
from handler.backup.workers import WorkerReport
from handler.errors import LedgerUnavailable

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
"""A pause is noticed within 5 seconds, also where the ledger is slow. A look is one statement."""

REPORT_SECONDS = 4.0
"""A worker reports itself after so long, at the next look; a changed state it reports at once."""

UNCONTROLLABLE = "LEDGER_URL=none: snapshot-backup pause, resume and concurrency cannot reach this process"

_UNKNOWN = Control(Pause(0.0, "not known yet: the ledger cannot be read"))
"""While nothing was read yet no event is handled: a pause could be overlooked."""


class ControlledLedger(Protocol):
    """What the watch needs of the ledger; see ``handler.ledger.ledger.StoredLedger``."""

    @property
    def controllable(self) -> bool:
        """Whether other processes can write into the ledger."""

    async def control(self, queue: str, report: WorkerReport | None = None) -> Control:
        """Read what operators have set, and write a report. Raises ``LedgerUnavailable``."""

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker. Raises ``LedgerUnavailable``."""


class ControlWatch:
    """Knows what operators have set for ``queue``, as it was read last.

    ``resize`` is called with the number of messages in hand when that changes. ``clock`` gives monotonic
    seconds.
    """

    def __init__(
        self,
        ledger: ControlledLedger,
        queue: str,
        concurrency: int,
        resize: Callable[[int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._own = concurrency
        self._resize = resize
        self._clock = clock
        self._read_at = float("-inf")
        self._control = _UNKNOWN if ledger.controllable else Control()
        self._reported = float("-inf"), ""
        self._may_be_known = False
        self.report: Callable[[], WorkerReport] | None = None
        """What a worker reports of itself; None for a function."""

    def current(self) -> Control:
        """Return what was read last."""
        return self._control

    async def begin(self) -> None:
        """Read before anything is handled, and say where nothing can be read."""
        if self._ledger.controllable:
            await self.look()
        else:
            log.info("%s", UNCONTROLLABLE, extra={"action": "control.none"})

    async def keep(self, changed: Callable[[], None]) -> None:
        """Read every few seconds, and call ``changed`` where something has."""
        while self._ledger.controllable:
            before = self._control
            await self.look()
            if self._control != before:
                changed()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Read, unless that was just now. While the ledger is unavailable, what was read last holds."""
        now = self._clock()
        if not self._ledger.controllable or now - self._read_at < EVERY_SECONDS / 2:
            return
        with contextlib.suppress(LedgerUnavailable):
            report = self._due_report(now)
            self._may_be_known |= report is not None
            self._apply(await self._ledger.control(self._queue, report))
            self._read_at = now
            if report is not None:
                self._reported = now, report.state

    def _due_report(self, now: float) -> WorkerReport | None:
        """Return the worker's report where it is to be written: its state has changed, or it is old."""
        if self.report is None:
            return None
        report, (reported_at, state) = self.report(), self._reported
        return report if report.state != state or now - reported_at >= REPORT_SECONDS else None

    async def leave(self, seconds: float) -> None:
        """Have the ledger forget this worker, which stops; wait up to ``seconds`` for that."""
        report, self.report = self.report, None
        if report is None or not self._may_be_known:
            return
        with contextlib.suppress(LedgerUnavailable, TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ledger.remove_worker(report().id)

    def _apply(self, found: Control) -> None:
        before, self._control = self._control, found
        if found.concurrency != before.concurrency:
            self._resize(found.concurrency or self._own)
        _log_changes(Control() if before is _UNKNOWN else before, found, self._own)


def _log_changes(before: Control, after: Control, own: int) -> None:
    """Log each pause that begins or ends, and a changed number of messages in hand."""
    _log_pause("all events", before.queue, after.queue)
    for project in sorted({*before.projects, *after.projects}):
        _log_pause(f"events of project {project}", before.projects.get(project), after.projects.get(project))
    if after.concurrency != before.concurrency:
        count = after.concurrency or own
        log.info("an operator has set CONCURRENCY to %d", count, extra={"action": "control.concurrency"})


def _log_pause(what: str, before: Pause | None, after: Pause | None) -> None:
    if after and after != before:
        log.warning(
            "%s wait: an operator has paused them%s; backups in progress are tracked on. "
            "snapshot-backup resume ends it",
            what,
            f" ({after.reason})" if after.reason else "",
            extra={"action": "control.paused", "reason": after.reason},
        )
    elif before and not after:
        log.info("%s are handled again", what, extra={"action": "control.resumed"})
