"""The event loop of a worker: uvloop if the extra ``fast`` is installed, in an interpreter tuned for it.

All of it was measured by ``tests.bench.throughput``; uvloop takes a tenth less CPU for an event.
"""

import asyncio
import gc
import sys
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


def tune_interpreter() -> None:
    """Let the interpreter interrupt the loop less; for when everything has been imported.

    What has been imported is kept out of the garbage collector's rounds: with the tracing library they cost
    0.12 ms of CPU more an event, without a span made. Rounds after 700 objects meet little but the messages
    in hand; full ones stay as frequent as they are by default, for what a lost connection leaves. And the
    ledger's thread takes its turn where the loop's thread waits anyway, not every 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 2, 2)
    sys.setswitchinterval(0.03)
