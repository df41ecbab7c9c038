"""A rate limiter: at most so many messages per second, evenly spaced."""

import asyncio
import contextlib
import time
from collections.abc import Callable

_CATCH_UP = 1.0
"""Seconds of delay that are caught up; catching up more would send a burst."""


class RateLimiter:
    """Allows ``rate`` messages per second from the first on; None sets no limit.

    ``clock`` returns monotonic seconds.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate if rate else 0.0
        self._clock = clock
        self._due: float | None = None

    @property
    def unlimited(self) -> bool:
        """Whether ``acquire`` always returns at once."""
        return not self._step

    async def acquire(self, stop: asyncio.Event) -> None:
        """Wait until the next message is due, or ``stop`` is set."""
        if not self._step:
            return
        now = self._clock()
        due = now if self._due is None else max(self._due, now - _CATCH_UP)
        if due > now:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due - now):
                    await stop.wait()
        self._due = due + self._step
