"""The deadline of a FunctionGraph call: when to hand over what is not finished, and when to stop waiting.

It is worked out first thing in a call, before anything else is imported: the context's remaining time can be
checked only against the call's start.
"""

import os
from typing import Any, NamedTuple

# The platform's limits on a function's run time, in seconds.
_SHORTEST_LIMIT, _LONGEST_LIMIT = 3.0, 259_200.0

_DEFAULT_LIMIT = _SHORTEST_LIMIT
"""What the platform sets where nothing else is configured, and never too long where the limit is unknown."""

_LATE = 1.0
"""Seconds of the limit that may be over when the platform calls us."""

_LONGEST_MARGIN = 10.0


class Deadline(NamedTuple):
    """The end of a call, in monotonic seconds.

    At ``soft`` what is not finished is handed to a wait queue; what the broker has not confirmed at ``hard``
    is left to the platform, which would end the call soon after.
    """

    soft: float
    hard: float


def deadline_of(context: Any, *, now: float) -> Deadline:
    """Return the deadline of a call that begins ``now``.

    ``RUNTIME_TIMEOUT`` rules. The context's remaining time counts only where that is missing, and where it is
    plausible; else the platform's default limit does.
    """
    seconds = _runtime_timeout() or _remaining(context) or _DEFAULT_LIMIT
    margin = min(seconds / 4, _LONGEST_MARGIN)
    return Deadline(soft=now + seconds - margin, hard=now + seconds - margin / 4)


def _runtime_timeout() -> float | None:
    seconds = _number(os.environ.get("RUNTIME_TIMEOUT"))
    return seconds if 0 < seconds <= _LONGEST_LIMIT else None


def _remaining(context: Any) -> float | None:
    """Return the seconds that the context has left at the start of a call; None if they are not plausible.

    Some runtimes add a limit in seconds to a clock in milliseconds: a limit of 30 s leaves 30 ms at the
    start, and soon less than none. Others multiply a text. So plausible is what a limit of the platform's can
    leave: at least 2 s, since the shortest limit is 3 s and little of it is over at the start, and at most
    the longest limit. A wrong value in between is too short: the call then hands over early.
    """
    try:
        seconds = _number(context.getRemainingTimeInMilliSeconds()) / 1000
    except Exception:  # noqa: BLE001 - whatever the platform's object raises, the call can go on without it
        return None
    return seconds if _SHORTEST_LIMIT - _LATE <= seconds <= _LONGEST_LIMIT else None


def _number(value: object) -> float:
    """Return a number, also one written as text; 0 for everything else."""
    if isinstance(value, bool):
        return 0.0
    try:
        return float(str(value))
    except ValueError:
        return 0.0
