"""Ends of asyncio's tasks: asyncio logs an unread error with a traceback."""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from handler.errors import SnapshotBackupError

log = logging.getLogger(__name__)
T = TypeVar("T")


async def unless(
    stop: asyncio.Event, work: Coroutine[Any, Any, T], *, seconds: float | None = None
) -> T | None:
    """Do the work; None where ``stop`` was set before its end, which is awaited for ``seconds`` at most.

    Raises what the work raises, where it ends first.
    """
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopping.cancel()
        await settled({task, stopping}, seconds=seconds)


async def settled(tasks: Collection["asyncio.Task[Any]"], *, seconds: float | None = None) -> None:
    """Wait until tasks that are no longer needed have ended, for ``seconds`` at most.

    They may fail while they end, as an attempt to connect that is refused after the stop does. Such an error
    of this program's own is taken as read; any other is a bug, and is logged.
    """
    if not tasks:
        return
    ended, _ = await asyncio.wait(tasks, timeout=seconds)
    for task in ended:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SnapshotBackupError):
            log.error("a bug: please report it", exc_info=error, extra={"action": "task.bug"})
