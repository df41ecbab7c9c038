"""How long a test waits before it gives up.

A limit tells a program that does not end from one that does. On a busy machine it would tell a slow machine
from a fast one, so limits grow with the load; a failure still comes within minutes.
"""

import os

_CORES = os.cpu_count() or 1


def patient(seconds: float) -> float:
    """Return a limit in seconds for what takes so long at most on an idle machine."""
    return seconds * (2.0 + os.getloadavg()[0] / _CORES)
