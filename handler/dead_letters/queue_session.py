"""Where an operator sits: the dead letters that are meant, one operator at a time, put back in the end."""

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
    """A dead letter in hand. ``remove`` is final; where it is not called the letter stays where it is."""

    dead_letter: DeadLetter
    remove: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class QueueSession:
    """The dead letters of one topology over one connection; ``on_wait`` hears that another is at it."""

    connection: BrokerConnection
    topology: Topology
    on_wait: Callable[[], None]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Reading]:
        """Take the turn and open a reading. Raises ``QueueUnusable``."""
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
    """Yield the dead letters that are meant, oldest first, at most ``limit``, until ``stop`` is set."""
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
