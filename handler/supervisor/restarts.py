"""What follows the end of a worker process: pure functions.

A process that ended is started again, each time after a longer wait; after one that ran for long, the waits
begin anew. A process that refuses its settings would refuse them again, so all processes end.
"""

import signal
from typing import Final, NamedTuple

REFUSED: Final = 2
"""The exit code for wrong settings."""

LONG_SECONDS: Final = 60.0
"""A process that ran for so long does not crash at its start."""

_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 30.0
_DOUBLINGS: Final = 16


class End(NamedTuple):
    """The end of a process: its exit code, or its signal as a negative number; seconds since its start."""

    code: int
    ran: float


class Restart(NamedTuple):
    """The next start: in how many seconds, and how many ends in a row it follows."""

    seconds: float
    row: int


def restart(end: End, row: int, chance: float) -> Restart | None:
    """Decide when a process is started again; None: never, and all processes end.

    ``row`` counts the ends in a row before this one. ``chance``, from 0 to 1, spreads the starts of several.
    """
    if end.code == REFUSED:
        return None
    if end.ran >= LONG_SECONDS:
        row = 0
    longest = min(_FIRST_SECONDS * 2 ** min(row, _DOUBLINGS), _LONGEST_SECONDS)
    return Restart(longest * (1 + chance) / 2, row + 1)


def how(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    if -code == signal.SIGKILL:
        return "was killed by SIGKILL, as the kernel does when memory runs out"
    return f"was ended by {signal_name(-code)}"


def signal_name(number: int) -> str:
    """Return the name of a signal; real-time signals have only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
