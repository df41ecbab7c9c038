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
- Taking away is not confirmed by AMQP, and a quorum queue's channel that is closed forgets acknowledgements
  that it has not passed on yet: of 40 messages that were sent back and acknowledged, 7 came back. So each
  window has an *anchor*, a consumer that holds one message and thus gets no other. Ending it is a command
  that the queue answers after all acknowledgements before it; only then is the channel closed.
- RabbitMQ closes a channel that holds a message for 30 minutes: ``replaying`` reads anew before that.
- Each window has a channel of its own: the broker searches all that a channel holds for each single
  acknowledgement, and stops at 2,047 channels. Windows of 2,000 reach as far as 4,000,000 messages.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from events.message import Message
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


class _Window:
    """Messages in hand on a channel of their own. The first is the anchor's."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._arrived = asyncio.Event()
        self._anchor = Consumer(channel, queue, self._arrive, self._arrived.set)
        self._first: Delivery | None = None
        self._acknowledged = False
        self._first_is_taken = False
        self.waiting: deque[Delivery] = deque()

    async def fill(self, size: int) -> None:
        """Take up to ``size`` messages in hand; fewer where the queue has no more."""
        await self._anchor.set_prefetch(1)
        if await self._until(1):
            self._first = self.waiting[0]
            if size > 1:
                rest = Consumer(self._channel, self._queue, self._arrive, self._arrived.set)
                await rest.set_prefetch(size - 1)
                await self._until(size)
                # What an acknowledgement makes room for must not come in on top.
                await rest.set_prefetch(0)
        if self._channel.closed.done():
            raise self._channel.closed.result()

    def take_away(self, delivery: Delivery) -> None:
        """Remove a message for good; the anchor's not before the end."""
        if delivery is self._first:
            self._first_is_taken = True
        else:
            self._acknowledged = True
            delivery.ack()

    async def put_back(self) -> None:
        """Return what was not taken away."""
        if not self._channel.closed.done():
            if self._acknowledged:
                await self._anchor.set_prefetch(0)
                # Its answer may be told before that of the acknowledgements; the next one is not.
                await _count(self._channel, self._queue)
            if self._first_is_taken and self._first:
                self._first.ack()
        await self._channel.close()

    def _arrive(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)
        self._arrived.set()

    async def _until(self, size: int) -> bool:
        """Wait for so many; False where the queue is empty, or the channel closed, before."""
        while len(self.waiting) < size and not self._channel.closed.done():
            self._arrived.clear()
            if not await self._more() and await _count(self._channel, self._queue) == 0:
                # One that is empty and was quiet before has delivered all it has.
                break
        return len(self.waiting) >= size

    async def _more(self) -> bool:
        try:
            await asyncio.wait_for(self._arrived.wait(), _QUIET_SECONDS)
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Taken:
    """A message in hand. ``take_away`` is final; where it is not called the message goes back."""

    message: Message
    take_away: Callable[[], None]


class Reading:
    """One reading of the queue, from its head. ``total`` is how many messages were there at its start."""

    def __init__(self, link: Link, queue: str, total: int) -> None:
        self._link = link
        self._queue = queue
        self._windows: list[_Window] = []
        self._size = FIRST_WINDOW
        self.total = total
        self.seen = 0

    async def messages(self) -> AsyncIterator[Taken]:
        """Yield what was there at the start, oldest first.

        Memory holds one window; the next is fetched when the last of this one has been used.
        """
        while self.seen < self.total:
            window = await self._next(min(self._size, self.total - self.seen))
            if not window.waiting:
                return
            largest = max(len(delivery.message.body) for delivery in window.waiting)
            self._size = max(1, min(LARGEST_WINDOW, self._size * 2, WINDOW_BYTES // max(1, largest)))
            while window.waiting:
                self.seen += 1
                delivery = window.waiting.popleft()
                yield Taken(delivery.message, partial(window.take_away, delivery))

    async def put_back(self) -> None:
        """Return what is in hand, in the order in which it was taken."""
        for window in self._windows:
            await window.put_back()

    async def _next(self, size: int) -> _Window:
        window = _Window(await self._link.channel(), self._queue)
        self._windows.append(window)
        await window.fill(size)
        return window


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
    channel = await link.channel()
    try:
        count = await _count(channel, queue.name)
        # Declaring what exists changes nothing, and the broker says whether its arguments differ.
        await channel.call(
            channel.raw.queue_declare, queue=queue.name, durable=True, arguments=queue.arguments
        )
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
    finally:
        await channel.close()
    return count


async def _count(channel: Channel, queue: str) -> int:
    """Ask how many messages are ready."""
    answer = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    return int(answer.method.message_count)
