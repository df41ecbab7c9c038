"""How fast: at most so many a second, evenly."""

import asyncio
import contextlib
import time
from collections.abc import Callable

_CATCH_UP = 1.0
"""Seconds of delay that are made up for; more would be a burst."""


class RateLimiter:
    """Gives out turns, ``rate`` a second; None is as fast as it goes. ``clock`` is monotonic seconds."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate if rate else 0.0
        self._clock = clock
        self._due = clock()

    @property
    def unlimited(self) -> bool:
        """Whether nobody ever waits for a turn."""
        return not self._step

    async def acquire(self, stop: asyncio.Event) -> None:
        """Return when it is time for the next, or ``stop`` is set."""
        if not self._step:
            return
        now = self._clock()
        self._due = max(self._due, now - _CATCH_UP)
        if self._due > now:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._due - now):
                    await stop.wait()
        self._due += self._step
