"""The changes that wait for the ledger's thread, and how results get back to the callers' event loops."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from handler.ledger.quick import Quick


class Job(NamedTuple):
    """A change and its caller's future; its transaction locks or reads key, copy and groups of slots."""

    work: Callable[[Any], Any]
    key: Any
    copy: str | None
    groups: Sequence[str]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    quick: Quick[Any] | None = None
    """A quick change that may be made in place of ``work``."""


class Stop(NamedTuple):
    """The end of the queue; the future is done once the connection is closed."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


Answer = tuple[Any, Exception | None]
"""A value, or an error to raise."""


def queued(queue: "SimpleQueue[Job | Stop]", *, wait: bool = True) -> Iterator[Job | Stop]:
    """Yield what is queued already; first wait for one item, unless ``wait`` is false."""
    if wait:
        yield queue.get()
    with suppress(Empty):
        while True:
            yield queue.get_nowait()


def deliver(jobs: Sequence[Job], answers: Sequence[Answer]) -> None:
    """Hand results back, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Answer]]] = defaultdict(list)
    for job, answer in zip(jobs, answers, strict=True):
        by_loop[job.loop].append((job.future, answer))
    for loop, settled in by_loop.items():
        post(loop, settled)


def post(loop: asyncio.AbstractEventLoop, settled: list[tuple[asyncio.Future[Any], Answer]]) -> None:
    """Let an event loop settle futures, from another thread."""
    # RuntimeError: the event loop was closed meanwhile, so no caller waits for the result.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, settled)


def _settle(settled: list[tuple[asyncio.Future[Any], Answer]]) -> None:
    for future, (value, error) in settled:
        if future.done():  # its caller has ended, or was answered while the thread was stuck
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
