"""Looking at the dead letters without taking them away.

Messages are taken in hand, as many as are wanted, and not acknowledged; what is still in hand at the end goes
back by closing the channel that delivered it. Nothing is ever returned by ``basic.nack``: on quorum queues of
3.10 that may put a message behind all others.

Measured on RabbitMQ 3.10.8 and held by ``tests/integration/test_dead_letters_reading.py``:

- On classic queues, and on quorum queues whose channels are closed in the order in which they took, all that
  goes back is where it was, in order.
- When the reader is killed, classic queues keep the order; quorum queues return the windows whole but in any
  order among each other.
- The broker marks what was looked at: ``redelivered`` and, on quorum queues, its own count in
  ``x-delivery-count``. The message's own properties, headers and body are untouched.

Dangers:

- Each return counts toward a delivery limit, and the dead letters have no dead letters: the queue must be
  declared as ``Topology.dead_queue`` says, which is checked before the first look.
- RabbitMQ closes a channel that holds a message for 30 minutes: ``replaying`` reads anew before that.
- Each window has a channel of its own: the broker searches all that a channel holds for each single
  acknowledgement, and stops at 2,047 channels. Windows of 2,000 reach as far as 4,000,000 messages.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from handler.broker.consumer import Consumer, Delivery
from handler.broker.link import Channel, ChannelClosed, Link
from handler.broker.topology import Queue
from handler.errors import BrokerError

FIRST_WINDOW = 100
LARGEST_WINDOW = 2000
WINDOW_BYTES = 16 * 1024 * 1024
"""What one window's bodies may take in memory, judged by the largest body of the window before."""

_QUIET_SECONDS = 0.2
_NOT_FOUND = 404
_DIFFERS = 406


class NoQueue(BrokerError):
    """The dead-letter queue is not there, or not as it must be to be read safely."""


@dataclass(frozen=True, slots=True)
class _Window:
    channel: Channel
    deliveries: deque[Delivery]


class Reading:
    """One reading of the queue, from its head. ``total`` is how many messages were there at its start."""

    def __init__(self, link: Link, queue: str, total: int) -> None:
        self._link = link
        self._queue = queue
        self._channels: list[Channel] = []
        self._size = FIRST_WINDOW
        self.total = total
        self.seen = 0

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield what was there at the start, oldest first; whoever acknowledges one takes it away.

        Memory holds one window; the next is fetched when the last of this one has been used.
        """
        while self.seen < self.total:
            window = await self._next(min(self._size, self.total - self.seen))
            if not window.deliveries:
                return
            largest = max(len(delivery.message.body) for delivery in window.deliveries)
            self._size = max(1, min(LARGEST_WINDOW, self._size * 2, WINDOW_BYTES // max(1, largest)))
            while window.deliveries:
                self.seen += 1
                yield window.deliveries.popleft()

    async def put_back(self) -> None:
        """Return what is in hand, in the order in which it was taken."""
        for channel in self._channels:
            await channel.close()

    async def _next(self, size: int) -> _Window:
        """Take up to ``size`` messages in hand; fewer where the queue has no more."""
        channel = await self._link.channel()
        self._channels.append(channel)
        taken: deque[Delivery] = deque()
        arrived = asyncio.Event()

        def take(delivery: Delivery) -> None:
            taken.append(delivery)
            arrived.set()

        consumer = Consumer(channel, self._queue, take, arrived.set)
        await consumer.set_prefetch(size)
        while len(taken) < size and not channel.closed.done():
            arrived.clear()
            if not await self._more(arrived) and await self._is_empty():
                break
        if channel.closed.done():
            raise channel.closed.result()
        # What an acknowledgement makes room for must not come in on top.
        await consumer.set_prefetch(0)
        return _Window(channel, taken)

    async def _more(self, arrived: asyncio.Event) -> bool:
        try:
            await asyncio.wait_for(arrived.wait(), _QUIET_SECONDS)
        except TimeoutError:
            return False
        return True

    async def _is_empty(self) -> bool:
        """Ask the broker; one that is empty and was quiet before has delivered all it has."""
        return await _count(self._link, self._queue) == 0


@asynccontextmanager
async def reading(link: Link, queue: Queue) -> AsyncIterator[Reading]:
    """Open a reading; at its end everything that was not acknowledged is back. Raises ``NoQueue``."""
    found = Reading(link, queue.name, await check_queue(link, queue))
    try:
        yield found
    finally:
        await found.put_back()


async def check_queue(link: Link, queue: Queue) -> int:
    """Return how many messages wait in the queue. Raises ``NoQueue`` where it is missing or unsafe."""
    try:
        count = await _count(link, queue.name)
        await _declare_again(link, queue)
    except ChannelClosed as error:
        if error.code == _NOT_FOUND:
            raise NoQueue(
                f"there is no queue {queue.name}: is SNAPSHOT_QUEUE right, and has a worker run?"
            ) from error
        if error.code == _DIFFERS:
            raise NoQueue(
                f"{error} (reading could lose messages of a queue with a delivery limit; see QUEUE_TYPE)"
            ) from error
        raise
    return count


async def _count(link: Link, name: str) -> int:
    channel = await link.channel()
    try:
        answer = await channel.call(channel.raw.queue_declare, queue=name, passive=True)
        return int(answer.method.message_count)
    finally:
        await channel.close()


async def _declare_again(link: Link, queue: Queue) -> None:
    """Declare what exists: the broker says whether its arguments differ."""
    channel = await link.channel()
    try:
        await channel.call(
            channel.raw.queue_declare, queue=queue.name, durable=True, arguments=queue.arguments
        )
    finally:
        await channel.close()
