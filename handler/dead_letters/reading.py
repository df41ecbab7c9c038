"""Looking at the dead letters without taking them away.

Messages are taken in hand, as many as are wanted, and not acknowledged; what is still in hand at the end goes
back by closing the channels that delivered it. Nothing is ever returned by ``basic.nack``: on quorum queues
of 3.10 that may put a message behind all others.

They come in windows, one after the other so that they keep their order; while one is looked at the next one
comes, so that the broker does not wait for us.

Measured on RabbitMQ 3.10.8, and held on 4.0.5 and 4.3.6 too by ``tests/integration/dead_letters``:

- On classic queues, and on quorum queues whose channels are closed in the order in which they took, all that
  goes back is where it was, in order.
- When the reader is killed, classic queues keep the order; quorum queues return the windows whole but in any
  order among each other.
- The broker marks what was looked at: ``redelivered`` and, on quorum queues, its own counts in
  ``x-delivery-count`` and (4.3.6) ``x-acquired-count``. The message's own properties, headers and body are
  untouched.

Dangers:

- Each return counts toward a delivery limit, and the dead letters have no dead letters: the queue must be
  declared as ``Topology.dead_queue`` says, which is checked before the first look.
- The broker answers that a channel is closed before the queue knows. Closed without a pause, one may overtake
  the other (seen on 4.3.6, in 4 of 120 readings), and who counts at once counts too few. So what goes back
  is awaited.
- RabbitMQ closes a channel that holds a message for 30 minutes: ``replaying`` reads anew before that.
- RabbitMQ stops at 2,047 channels, and so windows of many messages are larger.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from events.message import Message
from handler.broker.connection import BrokerConnection, Channel, ChannelClosed
from handler.broker.consumer import Delivery
from handler.broker.topology import Queue
from handler.dead_letters.batch import Batch, count
from handler.errors import BrokerError

FIRST_BATCH = 100
LARGEST_BATCH = 4_000
MOST_BATCHES = 1_000
"""Where there are more messages than so many of the largest hold, they are larger."""
BATCH_BYTES = 8 * 1024 * 1024
"""What one window's bodies may take in memory, judged by the bodies of the window before."""

_GROWTH = 4
_MOST_PREFETCH = 65_535
_IN_MEMORY = 2
_ASK_TIMES = 1_000
_ASK_SECONDS = 0.005
_NOT_FOUND = 404
_DIFFERS = 406


class QueueUnusable(BrokerError):
    """The dead-letter queue is not there, or not as it must be to be read safely."""


@dataclass(slots=True)
class HeldMessage:
    """A message in hand; where it is not taken away it goes back."""

    batch: Batch
    delivery: Delivery

    @property
    def message(self) -> Message:
        """The message as it was delivered."""
        return self.delivery.message

    async def remove(self) -> None:
        """Remove it for good, before the reading ends. Raises ``ChannelClosed``."""
        await self.batch.remove(self.delivery)


class Reading:
    """One reading of the queue, from its head. ``total`` is how many messages were there at its start."""

    def __init__(self, connection: BrokerConnection, queue: Queue, total: int) -> None:
        self._connection = connection
        self._queue = queue
        self._batches: list[Batch] = []
        self._ready: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(_IN_MEMORY)
        self._filling: asyncio.Task[None] | None = None
        self._finished = False
        self.total = total
        self.seen = 0

    async def messages(self) -> AsyncIterator[HeldMessage]:
        """Yield what was there at the start, oldest first. Memory holds two windows."""
        self._filling = asyncio.create_task(self._fill())
        while batch := await self._ready.get():
            while deliveries := await batch.arrivals():
                for delivery in deliveries:
                    if self.seen >= self.total:
                        return
                    self.seen += 1
                    yield HeldMessage(batch, delivery)
            self._slots.release()
        await self._filling

    async def put_back(self) -> None:
        """Return what is in hand, in the order in which it was taken; afterwards it is there again."""
        self._finished = True
        self._slots.release()
        if self._filling:
            await asyncio.gather(self._filling, return_exceptions=True)
        if self._connection.closed.done():
            return
        asking = await self._connection.channel()
        for batch in self._batches:
            there = await count(asking, self._queue.name)
            back = await batch.put_back()
            await self._wait_until_ready(asking, there + back)
        await asking.close()

    async def _wait_until_ready(self, channel: Channel, number: int) -> None:
        """Return when so many messages are ready, or they should have been: somebody else may take some."""
        for _ in range(_ASK_TIMES):
            if await count(channel, self._queue.name) >= number:
                return
            await asyncio.sleep(_ASK_SECONDS)

    async def _fill(self) -> None:
        """Fill one window after the other, no more of them than memory may hold."""
        asked, size = 0, FIRST_BATCH
        opening = asyncio.create_task(self._open())
        try:
            while asked < self.total:
                batch = await opening
                await self._slots.acquire()
                if self._finished:
                    return
                self._ready.put_nowait(batch)
                wanted = min(size, self.total - asked)
                asked += wanted
                if asked < self.total:
                    # Before it is needed, so that the broker does not wait for us.
                    opening = asyncio.create_task(self._open())
                if not await batch.fill(wanted):
                    return
                size = self._next_size(size, batch.bytes // batch.arrived)
        finally:
            self._ready.put_nowait(None)
            await asyncio.gather(opening, return_exceptions=True)

    async def _open(self) -> Batch:
        batch = await Batch.open(self._connection, self._queue)
        self._batches.append(batch)
        return batch

    def _next_size(self, size: int, body: int) -> int:
        """Return the size of the next window where a body of the last one had so many bytes on average."""
        largest = max(LARGEST_BATCH, self.total // MOST_BATCHES)
        return max(1, min(largest, _MOST_PREFETCH, size * _GROWTH, BATCH_BYTES // max(1, body)))


@asynccontextmanager
async def reading(connection: BrokerConnection, queue: Queue) -> AsyncIterator[Reading]:
    """Open a reading; at its end everything that was not acknowledged is back. Raises ``QueueUnusable``."""
    found = Reading(connection, queue, await check_queue(connection, queue))
    try:
        yield found
    finally:
        await found.put_back()


async def check_queue(connection: BrokerConnection, queue: Queue) -> int:
    """Return how many messages wait in the queue. Raises ``QueueUnusable`` where it is missing or unsafe."""
    channel = await connection.channel()
    try:
        found = await count(channel, queue.name)
        # Declaring what exists changes nothing, and the broker says whether its arguments differ.
        await channel.call(
            channel.raw.queue_declare, queue=queue.name, durable=True, arguments=queue.arguments
        )
    except ChannelClosed as error:
        if error.code == _NOT_FOUND:
            raise QueueUnusable(
                f"there is no queue {queue.name}: is SNAPSHOT_QUEUE right, and has a worker run?"
            ) from error
        if error.code == _DIFFERS:
            raise QueueUnusable(
                f"{error} (reading could lose messages of a queue with a delivery limit; see QUEUE_TYPE)"
            ) from error
        raise
    finally:
        await channel.close()
    return found
