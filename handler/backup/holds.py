"""Holds: calls that are not sent for a time, because calls of their kind fail.

A hold is on a project or on a route. After its pause one call at a time probes, and each failure doubles the
pause. Memory is bounded: the holds that end first are dropped first, and those of projects that never come
again after an hour.
"""

import heapq
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
PROBE_SECONDS = 5.0
"""The next probe may start so long after one whose result is not known yet."""

MOST = 1024
_DROPPED_AT_ONCE = MOST // 8

FORGET_SECONDS = 3600.0
"""A hold that has ended is forgotten after so long without a call: no message waits longer for its return."""

_SWEEP_SECONDS = 60.0


@dataclass(slots=True)
class _Hold:
    until: float
    pause: float
    since: float
    why: str
    probing: bool = False


class Ended(NamedTuple):
    """A hold that has ended: why calls were held, and for how many seconds."""

    why: str
    seconds: float


class Holds:
    """The holds by their keys. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._holds: dict[Hashable, _Hold] = {}
        self._sweep_at = 0.0

    def __contains__(self, key: object) -> bool:
        return key in self._holds

    def __len__(self) -> int:
        self._sweep()
        return len(self._holds)

    def reasons(self) -> Iterator[tuple[Hashable, str]]:
        """Yield each key that is held, and why."""
        self._sweep()
        return ((key, hold.why) for key, hold in self._holds.items())

    def begin(self, key: Hashable, seconds: float, why: str = "unavailable") -> bool:
        """Hold the calls of a key for at least ``seconds``; return whether the hold is new.

        A probe that fails doubles the pause. A call that was in flight when the hold began does not.
        """
        now, hold = self._clock(), self._holds.get(key)
        if hold is None:
            if len(self) >= MOST:
                self._make_room()
            self._holds[key] = _Hold(now + max(seconds, FIRST_PAUSE), FIRST_PAUSE, now, why)
            return True
        hold.why = why
        if hold.probing:
            hold.pause = min(LONGEST_PAUSE, hold.pause * 2)
            hold.until, hold.probing = now + max(seconds, hold.pause), False
        else:
            hold.until = max(hold.until, now + seconds)
        return False

    def _sweep(self) -> None:
        """Forget holds that ended long ago, from time to time."""
        now = self._clock()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_SECONDS
        for key in [key for key, hold in self._holds.items() if hold.until + FORGET_SECONDS < now]:
            del self._holds[key]

    def _make_room(self) -> None:
        """Drop several holds at once: to find those that end first, all are read."""
        for key in heapq.nsmallest(_DROPPED_AT_ONCE, self._holds, key=lambda each: self._holds[each].until):
            del self._holds[key]

    def left(self, key: Hashable) -> float:
        """Return for how many seconds no call may be sent; 0 where it may.

        While one probes, the others wait for as long as the last pause: they would come back too often.
        """
        hold = self._holds.get(key)
        left = hold.until - self._clock() if hold else 0.0
        return max(left, hold.pause) if hold and left > 0 else 0.0

    def probe(self, key: Hashable) -> None:
        """Record that a call is sent. If it probes, others wait for its result."""
        if hold := self._holds.get(key):
            hold.until, hold.probing = self._clock() + PROBE_SECONDS, True

    def succeeded(self, key: Hashable) -> Ended | None:
        """End the hold if a probe has succeeded; a call that was in flight before it proves nothing."""
        return self.end(key) if (hold := self._holds.get(key)) and hold.probing else None

    def end(self, key: Hashable) -> Ended | None:
        """End the hold, and return what it was; None if there is none."""
        hold = self._holds.pop(key, None)
        return Ended(hold.why, self._clock() - hold.since) if hold else None
