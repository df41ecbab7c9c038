"""Ends of tasks: errors after a stop are not logged, and bugs are."""

import asyncio
import gc

import pytest

from handler.errors import ConnectionLost
from handler.tasks import settled, unless


async def done() -> str:
    """Work that ends at once."""
    return "done"


async def refused() -> str:
    """Work that fails at once."""
    raise ConnectionLost("refused")


async def failing_at_its_end(error: Exception) -> str:
    """Work that fails when it is cancelled, as an attempt to connect does that is just refused."""
    try:
        return await asyncio.Future()
    except asyncio.CancelledError:
        raise error from None


async def after_a_stop() -> str | None:
    """Begin, stop, and return what comes of the work."""
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    return await unless(stop, failing_at_its_end(ConnectionLost("refused")))


def test_work_that_ends_before_the_stop_gives_its_result() -> None:
    """What the work returns is returned."""

    async def run() -> str | None:
        return await unless(asyncio.Event(), done())

    assert asyncio.run(run()) == "done"


def test_work_that_fails_before_the_stop_raises() -> None:
    """What the work raises is raised."""

    async def run() -> str | None:
        return await unless(asyncio.Event(), refused())

    with pytest.raises(ConnectionLost):
        asyncio.run(run())


def test_an_attempt_refused_after_the_stop_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """After a stop there is no result, and an error that comes later is not logged."""
    assert asyncio.run(after_a_stop()) is None

    gc.collect()  # asyncio logs an unread error when its task is freed
    assert caplog.record_tuples == []


def test_work_that_does_not_end_keeps_a_stop_for_its_seconds_only() -> None:
    """Work that takes its time to end is left behind."""

    async def run() -> bool:
        stop, ends = asyncio.Event(), asyncio.Event()
        stop.set()

        async def lasting() -> bool:
            try:
                return await asyncio.Future()
            finally:
                await ends.wait()

        result = await unless(stop, lasting(), seconds=0.01)
        ends.set()
        return result is None

    assert asyncio.run(run())


def test_a_bug_in_a_task_that_ends_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An error that is not one of the program's own is logged with its traceback."""

    async def run() -> None:
        task = asyncio.create_task(failing_at_its_end(TypeError("no such thing")))
        await asyncio.sleep(0)
        task.cancel()
        await settled([task])

    asyncio.run(run())

    assert [(each.levelname, each.exc_info is None) for each in caplog.records] == [("ERROR", False)]


def test_no_tasks_are_settled() -> None:
    """Nothing to wait for is no error."""
    asyncio.run(settled([]))
