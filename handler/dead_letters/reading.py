"""A reading of the dead-letter queue: consumes messages without acknowledging them, then returns them.

At the end the channels are closed, and the broker requeues what is still unacknowledged. ``basic.nack`` is
never used: on quorum queues of 3.10 it may put a message behind all others.

Messages are consumed in batches, one after the other, which keeps their order. While the caller reads one
batch, the next one is already being delivered.

Measured on RabbitMQ 3.10.8, and held on 4.0.5 and 4.3.6 too by ``tests/integration/dead_letters``:

- Returned messages are where they were, in order: on classic queues always, on quorum queues if the channels
  are closed in the order in which they consumed.
- When the reader is killed, classic queues keep the order. Quorum queues return each batch whole, but the
  batches in any order.
- The broker marks what was read: ``redelivered`` and, on quorum queues, its own counts in
  ``x-delivery-count`` and (4.3.6) ``x-acquired-count``. The message's own properties, headers and body are
  unchanged.

Dangers:

- Each return counts toward a delivery limit, and messages beyond it would be dropped, since this queue has
  no dead-letter exchange. So ``check_queue`` first checks that the queue is declared as
  ``Topology.dead_queue`` says.
- The broker confirms that a channel is closed before the queue has requeued its messages. Without a pause,
  the messages of one channel may overtake those of another (seen on 4.3.6, in 4 of 120 readings), and a
  count right afterwards is too low. So after each channel the reading waits until its messages are ready.
- A quorum queue keeps what was returned before what it never delivered, in the order of the returns. So if
  only the first of the returned messages were read, they would come back behind the others: a look at all,
  and then one at the first hundred, moved these to the end. So a reading that stops early goes on to the
  end, and forgets what it reads.
- RabbitMQ closes a channel that holds a message for 30 minutes: ``replaying`` starts anew before that.
- RabbitMQ allows 2,047 channels per connection, so long queues are read in larger batches.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from events.message import Message
from handler.broker.connection import BrokerConnection, Channel, ChannelClosed
from handler.broker.consumer import Delivery
from handler.broker.counts import count_messages
from handler.broker.topology import Queue
from handler.dead_letters.batch import Batch
from handler.errors import BrokerError

FIRST_BATCH = 100
LARGEST_BATCH = 4_000
MOST_BATCHES = 1_000
"""The most batches of a reading; longer queues are read in batches larger than ``LARGEST_BATCH``."""
BATCH_BYTES = 8 * 1024 * 1024
"""How much memory the bodies of one batch may use, estimated from the batch before."""

_GROWTH = 4
_MOST_PREFETCH = 65_535
_IN_MEMORY = 2
_ASK_TIMES = 1_000
_ASK_SECONDS = 0.005
_NOT_FOUND = 404
_DIFFERS = 406


class QueueUnusable(BrokerError):
    """The dead-letter queue is missing, or is declared so that reading it could lose messages."""


@dataclass(slots=True)
class HeldMessage:
    """An unacknowledged message; unless it is removed, it returns to the queue."""

    batch: Batch
    delivery: Delivery

    @property
    def message(self) -> Message:
        """The message as it was delivered."""
        return self.delivery.message

    async def remove(self) -> None:
        """Delete the message from the queue for good. Raises ``ChannelClosed``."""
        await self.batch.remove(self.delivery)


class Reading:
    """One reading of the queue, from its head. ``total`` is the number of messages at its start."""

    def __init__(self, connection: BrokerConnection, queue: Queue, total: int) -> None:
        self._connection = connection
        self._queue = queue
        self._batches: list[Batch] = []
        self._ready: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._slots = asyncio.Semaphore(_IN_MEMORY)
        self._filling: asyncio.Task[None] | None = None
        self._finished = False
        self._ended = False
        self.total = total
        self.seen = 0

    async def messages(self) -> AsyncIterator[HeldMessage]:
        """Yield the messages that were there at the start, oldest first. Memory holds at most two batches."""
        self._filling = asyncio.create_task(self._fill())
        while batch := await self._ready.get():
            while deliveries := await batch.arrivals():
                for delivery in deliveries:
                    if self.seen >= self.total:
                        return
                    self.seen += 1
                    yield HeldMessage(batch, delivery)
            self._slots.release()
        self._ended = True
        await self._filling

    async def put_back(self) -> None:
        """Return the unacknowledged messages in their order, and wait until the queue has them again."""
        if self._queue.quorum and self._filling and not self._ended:
            await self._read_the_rest()
        self._finished = True
        self._slots.release()
        if self._filling:
            await asyncio.gather(self._filling, return_exceptions=True)
        if self._connection.closed.done():
            return
        asking = await self._connection.channel()
        for batch in self._batches:
            there = await count_messages(asking, self._queue.name)
            back = await batch.put_back()
            await self._wait_until_ready(asking, there + back)
        await asking.close()

    async def _read_the_rest(self) -> None:
        """Consume what the caller has not read, and forget it: see the danger of a part."""
        self._slots.release()  # of the batch in which the caller has stopped
        while batch := await self._ready.get():
            while await batch.arrivals():
                pass
            self._slots.release()

    async def _wait_until_ready(self, channel: Channel, number: int) -> None:
        """Wait until so many messages are ready; at most 5 s, since another program may consume some."""
        for _ in range(_ASK_TIMES):
            if await count_messages(channel, self._queue.name) >= number:
                return
            await asyncio.sleep(_ASK_SECONDS)

    async def _fill(self) -> None:
        """Fill one batch after the other, at most ``_IN_MEMORY`` ahead of the caller."""
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
                    # Opened before it is needed, so that the broker never waits for us.
                    opening = asyncio.create_task(self._open())
                if not await batch.fill(wanted):
                    return
                size = next_size(size, batch.bytes // batch.arrived, total=self.total)
        finally:
            self._ready.put_nowait(None)
            await asyncio.gather(opening, return_exceptions=True)

    async def _open(self) -> Batch:
        batch = await Batch.open(self._connection, self._queue)
        self._batches.append(batch)
        return batch


def next_size(size: int, body: int, *, total: int) -> int:
    """Return the size of the batch after one of ``size`` messages with ``body`` bytes each, on average.

    A reading of ``total`` messages has at most about ``MOST_BATCHES`` batches.
    """
    largest = max(LARGEST_BATCH, total // MOST_BATCHES)
    return max(1, min(largest, _MOST_PREFETCH, size * _GROWTH, BATCH_BYTES // max(1, body)))


@asynccontextmanager
async def reading(connection: BrokerConnection, queue: Queue) -> AsyncIterator[Reading]:
    """Open a reading; at its end, messages that were not removed are in the queue again.

    Raises ``QueueUnusable``.
    """
    found = Reading(connection, queue, await check_queue(connection, queue))
    try:
        yield found
    finally:
        await found.put_back()


async def check_queue(connection: BrokerConnection, queue: Queue) -> int:
    """Return how many messages are ready. Raises ``QueueUnusable`` if the queue is missing or unsafe."""
    channel = await connection.channel()
    try:
        found = await count_messages(channel, queue.name)
        # Declaring an existing queue changes nothing; the broker answers whether its arguments differ.
        await channel.call(
            channel.raw.queue_declare, queue=queue.name, durable=True, arguments=queue.arguments
        )
    except ChannelClosed as error:
        if error.code == _NOT_FOUND:
            raise QueueUnusable(
                f"queue {queue.name} does not exist: check SNAPSHOT_QUEUE, or run "
                "snapshot-backup topology declare"
            ) from error
        if error.code == _DIFFERS:
            raise QueueUnusable(
                f"{error}; reading a queue with another delivery limit could lose messages, so nothing was "
                "read: check QUEUE_TYPE, or move its messages away, delete it and run "
                "snapshot-backup topology declare"
            ) from error
        raise
    finally:
        await channel.close()
    return found
