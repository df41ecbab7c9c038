"""The queue session: selects dead letters under a lock, and returns what was not removed to the queue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from handler.broker.connection import BrokerConnection
from handler.broker.topology import Topology
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.filters import Filters
from handler.dead_letters.lock import locked
from handler.dead_letters.reading import Reading, check_queue, reading


@dataclass(frozen=True, slots=True)
class HeldDeadLetter:
    """An unacknowledged dead letter. ``remove`` deletes it for good; without it the dead letter stays."""

    dead_letter: DeadLetter
    remove: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class QueueSession:
    """Reads the dead letters of one topology; ``on_wait`` is called if another operator holds the lock."""

    connection: BrokerConnection
    topology: Topology
    on_wait: Callable[[], None]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Reading]:
        """Acquire the lock and open a reading. Raises ``QueueUnusable``."""
        queue = self.topology.dead_queue
        await check_queue(self.connection, queue)
        async with (
            locked(self.connection, queue.name, on_wait=self.on_wait),
            reading(self.connection, queue) as found,
        ):
            yield found


async def selected(
    found: Reading, filters: Filters, *, limit: int | None = None, stop: asyncio.Event | None = None
) -> AsyncIterator[HeldDeadLetter]:
    """Yield the dead letters that match, oldest first, at most ``limit``, until ``stop`` is set."""
    left = limit
    if left == 0:
        return
    async for taken in found.messages():
        if stop and stop.is_set():
            return
        dead_letter = DeadLetter(taken.message)
        if not filters.matches(dead_letter):
            continue
        yield HeldDeadLetter(dead_letter, taken.remove)
        if left is not None:
            left -= 1
            if left == 0:
                return
