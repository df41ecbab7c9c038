"""The event loop that a worker runs on: uvloop's where it is installed (the extra ``fast``), else asyncio's.

uvloop takes a tenth less CPU for an event (``tests.bench.throughput``).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_new_loop: Callable[[], asyncio.AbstractEventLoop] | None
try:
    import uvloop
except ImportError:
    _new_loop = None
else:
    _new_loop = uvloop.new_event_loop


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(work)
