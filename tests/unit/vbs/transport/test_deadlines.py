"""Tests of the one timer for the time limits of many calls: each call has its whole limit."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from handler.vbs.transport.deadlines import Deadlines
from handler.worker import event_loop

pytestmark = pytest.mark.usefixtures("each_loop")

LIMIT = 0.1


async def _call(deadlines: Deadlines, work: Coroutine[Any, Any, object]) -> float:
    """Run a call's work; return after how many seconds its limit ended it, or 0."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    running = deadlines.begin()
    try:
        async with running:
            await work
    except TimeoutError:
        return loop.time() - began
    finally:
        deadlines.end(running)
    return 0.0


def test_each_call_has_its_whole_time_limit() -> None:
    """Three hanging calls that begin one after the other each end at their own limit."""

    async def run() -> list[float]:
        deadlines = Deadlines(LIMIT)

        async def later(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return await _call(deadlines, asyncio.sleep(60))

        return await asyncio.gather(*(later(LIMIT * share) for share in (0.0, 0.3, 0.6)))

    # The loops' clocks count milliseconds.
    assert all(LIMIT - 0.002 <= seconds < 50 * LIMIT for seconds in event_loop.run(run()))


def test_a_finished_call_does_not_remove_the_limit_of_others() -> None:
    """A hanging call ends at its limit although the timer was set for a call that has ended."""

    async def run() -> list[float]:
        deadlines = Deadlines(LIMIT)
        works = (asyncio.sleep(0), asyncio.sleep(60))
        return await asyncio.gather(*(_call(deadlines, work) for work in works))

    quick, hung = event_loop.run(run())
    assert quick == 0.0
    assert hung > 0.0


def test_a_limit_holds_on_another_event_loop() -> None:
    """A limit works after the event loop changed: a function may run each call on its own loop."""
    deadlines = Deadlines(LIMIT)
    event_loop.run(_call(deadlines, asyncio.sleep(0)))
    assert event_loop.run(_call(deadlines, asyncio.sleep(60))) > 0.0


def test_a_cancelled_call_raises_cancelled_error() -> None:
    """A cancellation from outside is not a timeout and is not suppressed."""

    async def run() -> None:
        task = asyncio.create_task(_call(Deadlines(60), asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    event_loop.run(run())
