"""The pause after a failed sign-in: repeating it at once would lock the account or the key pair."""

import time
from collections.abc import Callable
from dataclasses import replace

from handler.errors import ApiError

Clock = Callable[[], float]
"""A monotonic clock, in seconds."""

monotonic: Clock = time.monotonic


class Pause:
    """Keeps a failure for ``first`` seconds, doubled with each further failure up to ``longest``."""

    def __init__(self, first: float, longest: float, clock: Clock) -> None:
        self._first = first
        self._longest = longest
        self._clock = clock
        self._length = first
        self._until = 0.0
        self._error: ApiError | None = None

    def begin(self, error: ApiError) -> None:
        """Start a pause with this error; the error's ``retry_after`` counts if it is longer."""
        length = max(self._length, error.retry_after or 0.0)
        self._length = min(self._length * 2, self._longest)
        self._until = self._clock() + length
        self._error = error

    @property
    def active(self) -> bool:
        """Whether the pause goes on."""
        return self._error is not None and self._until > self._clock()

    def check(self) -> None:
        """During the pause, raise the kept ``ApiError`` with the remaining time as ``retry_after``."""
        left = self._until - self._clock()
        if self._error is not None and left > 0:
            raise replace(self._error, retry_after=left)

    def clear(self) -> None:
        """Forget all failures, after a success."""
        self._error = None
        self._length = self._first
