"""The watch on the backups in progress where their number is limited: for metrics, and a line of the log."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from handler.backup.running import limit_of
from handler.errors import LedgerUnavailable
from handler.ledger.room import RunningSummary
from handler.telemetry.counters import Counters

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
LINE_SECONDS = 60.0


class RunningLedger(Protocol):
    """What the watch needs of the ledger; see ``handler.ledger.ledger.StoredLedger``."""

    async def running(self) -> RunningSummary:
        """Count the backups in progress, and the messages that wait for room."""


class RunningWatch:
    """Counts what the ledger knows of all processes. ``clock`` gives monotonic seconds."""

    def __init__(
        self, ledger: RunningLedger, counters: Counters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._counters = counters
        self._clock = clock
        self._logged_at: float | None = None

    async def keep(self) -> None:
        """Count every few seconds. While the ledger is unavailable the last counts stay."""
        while True:
            with contextlib.suppress(LedgerUnavailable):
                await self.count()
            await asyncio.sleep(EVERY_SECONDS)

    async def count(self) -> None:
        """Count once, and log whether messages wait."""
        found = await self._ledger.running()
        self._counters.running = by_limit(found)
        self._counters.waiting_for_room = found.waiting
        self._log(found.waiting, self._counters.running)

    def _log(self, waiting: int, running: Mapping[str, int]) -> None:
        now = self._clock()
        if waiting and (self._logged_at is None or now - self._logged_at >= LINE_SECONDS):
            self._logged_at = now
            counts = ", ".join(f"{count} of {limit}" for limit, count in running.items())
            log.info(
                "%d messages wait for fewer backups to be in progress; these are: %s",
                waiting,
                counts or "none",
                extra={"action": "room.full", "waiting": waiting, "running": dict(running)},
            )
        elif not waiting and self._logged_at is not None:
            self._logged_at = None
            log.info("no message waits for fewer backups to be in progress", extra={"action": "room.free"})


def by_limit(found: RunningSummary) -> dict[str, int]:
    """Return the backups in progress by the name of their limit: all projects, zones or clouds together."""
    counts: dict[str, int] = {}
    for group, running in sorted(found.groups.items()):
        counts[limit_of(group)] = counts.get(limit_of(group), 0) + running.slots
    return counts
