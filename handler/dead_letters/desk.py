"""Where an operator sits: the dead letters that are meant, one operator at a time, put back in the end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from handler.broker.link import Link
from handler.broker.topology import Topology
from handler.dead_letters.choice import Choice
from handler.dead_letters.letter import Letter
from handler.dead_letters.reading import Reading, check_queue, reading
from handler.dead_letters.turn import turn


@dataclass(frozen=True, slots=True)
class Held:
    """A dead letter in hand. ``take_away`` is final; where it is not called the letter stays where it is."""

    letter: Letter
    take_away: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """The dead letters of one topology over one connection; ``on_wait`` hears that another is at it."""

    link: Link
    topology: Topology
    on_wait: Callable[[], None]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Reading]:
        """Take the turn and open a reading. Raises ``NoQueue``."""
        queue = self.topology.dead_queue
        await check_queue(self.link, queue)
        async with turn(self.link, queue.name, on_wait=self.on_wait), reading(self.link, queue) as found:
            yield found


async def chosen(
    found: Reading, choice: Choice, *, limit: int | None = None, stop: asyncio.Event | None = None
) -> AsyncIterator[Held]:
    """Yield the dead letters that are meant, oldest first, at most ``limit``, until ``stop`` is set."""
    left = limit
    if left == 0:
        return
    async for taken in found.messages():
        if stop and stop.is_set():
            return
        letter = Letter(taken.message)
        if not choice.takes(letter):
            continue
        yield Held(letter, taken.take_away)
        if left is not None:
            left -= 1
            if left == 0:
                return
