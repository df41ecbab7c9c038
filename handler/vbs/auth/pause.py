"""A sign-in that was refused is left alone for a while: repeating it locks the account or the key pair."""

import time
from collections.abc import Callable
from dataclasses import replace

from handler.errors import ApiError

Clock = Callable[[], float]
"""Seconds that only go forward."""

monotonic: Clock = time.monotonic


class Pause:
    """Remembers a failure for ``first`` seconds, doubled with each further one up to ``longest``."""

    def __init__(self, first: float, longest: float, clock: Clock) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._length = first
        self._until = 0.0
        self._error: ApiError | None = None

    def begin(self, error: ApiError) -> None:
        """Repeat ``error`` from now on; for as long as it says itself, if that is longer."""
        length = max(self._length, error.retry_after or 0.0)
        self._length = min(self._length * 2, self._longest)
        self._until = self._clock() + length
        self._error = error

    def check(self) -> None:
        """Raise the remembered ``ApiError``, with the time that is left, while the pause lasts."""
        left = self._until - self._clock()
        if self._error is not None and left > 0:
            raise replace(self._error, retry_after=left)

    def clear(self) -> None:
        """Forget all failures: it worked."""
        self._error = None
        self._length = self._first
