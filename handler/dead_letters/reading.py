"""Looking at the dead letters without taking them away.

Messages are taken in hand, as many as are wanted, and not acknowledged; what is still in hand at the end goes
back by closing the channel that delivered it. Nothing is ever returned by ``basic.nack``: on quorum queues of
3.10 that may put a message behind all others.

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
- Taking away is not confirmed by AMQP, and a quorum queue's channel that is closed forgets acknowledgements
  that it has not passed on yet: of 40 messages that were sent back and acknowledged, 7 came back. So a window
  is ended by cancelling its consumer after the last acknowledgement: the queue answers that in turn. Only
  then may the channel be closed.
- RabbitMQ closes a channel that holds a message for 30 minutes: ``replaying`` reads anew before that.
- Each window has a channel of its own: the broker searches all that a channel holds for each single
  acknowledgement, and stops at 2,047 channels. Windows of 10,000 reach as far as 20,000,000 messages.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from events.message import Message
from handler.broker.consumer import Consumer, Delivery
from handler.broker.link import Channel, ChannelClosed, Link
from handler.broker.topology import Queue
from handler.errors import BrokerError

FIRST_WINDOW = 100
LARGEST_WINDOW = 10_000
WINDOW_BYTES = 16 * 1024 * 1024
"""What one window's bodies may take in memory, judged by the largest body of the window before."""

_GROWTH = 4
_QUIET_SECONDS = 0.2
_NOT_FOUND = 404
_DIFFERS = 406


class NoQueue(BrokerError):
    """The dead-letter queue is not there, or not as it must be to be read safely."""


Settle = Callable[[], Awaitable[None]]
"""Brings what is being done with messages in hand to its end."""


class _Window:
    """Up to ``size`` messages in hand, by one consumer on a channel of its own: that keeps their order."""

    def __init__(self, channel: Channel, queue: str, size: int) -> None:
        self._channel = channel
        self._queue = queue
        self._size = size
        self._arrived = asyncio.Event()
        self._consumer = Consumer(channel, queue, self._arrive, self._arrived.set)
        self._in_hand = 0
        self._acknowledged = False
        self.waiting: deque[Delivery] = deque()

    @property
    def full(self) -> bool:
        """Whether no more can come; what is taken away makes room."""
        return self._in_hand >= self._size

    async def start(self) -> None:
        """Let messages come."""
        await self._consumer.set_prefetch(self._size)

    async def has_more(self, settle: Settle) -> bool:
        """Wait for a message; False where the window is full of what stays, or the queue is empty."""
        if not self.waiting and not self.full:
            await self._arrival()
        if not self.waiting:
            await settle()
            if not self.full:
                await self._arrival()
        return bool(self.waiting)

    def take_away(self, delivery: Delivery) -> None:
        """Remove a message for good."""
        self._acknowledged = True
        self._in_hand -= 1
        delivery.ack()

    async def end(self) -> None:
        """Let no more come, and return when the queue has every acknowledgement."""
        if self._channel.closed.done() or not self._consumer.prefetch:
            return
        await self._consumer.set_prefetch(0)
        if self._acknowledged:
            # The cancelling may be answered just before the queue has told the channel of the
            # acknowledgements; the next answer is not.
            await _count(self._channel, self._queue)

    async def put_back(self) -> None:
        """Return what was not taken away."""
        await self.end()
        await self._channel.close()

    def _arrive(self, delivery: Delivery) -> None:
        self._in_hand += 1
        self.waiting.append(delivery)
        self._arrived.set()

    async def _arrival(self) -> None:
        """Return when a message waits, or the queue has none. Raises ``ChannelClosed``."""
        while not self.waiting:
            if self._channel.closed.done():
                raise self._channel.closed.result()
            self._arrived.clear()
            try:
                async with asyncio.timeout(_QUIET_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                # One that is empty and was quiet before has delivered all it has.
                if await _count(self._channel, self._queue) == 0:
                    return


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

    async def messages(self, settle: Settle) -> AsyncIterator[Taken]:
        """Yield what was there at the start, oldest first.

        Memory holds one window. ``settle`` is awaited before a window ends: afterwards none of its messages
        may be taken away.
        """
        while self.seen < self.total:
            window = await self._next(min(self._size, self.total - self.seen))
            largest = 1
            while self.seen < self.total and await window.has_more(settle):
                delivery = window.waiting.popleft()
                largest = max(largest, len(delivery.message.body))
                self.seen += 1
                yield Taken(delivery.message, partial(window.take_away, delivery))
            await settle()
            await window.end()
            if not window.full:
                return
            self._size = max(1, min(LARGEST_WINDOW, self._size * _GROWTH, WINDOW_BYTES // largest))

    async def put_back(self) -> None:
        """Return what is in hand, in the order in which it was taken."""
        for window in self._windows:
            await window.put_back()

    async def _next(self, size: int) -> _Window:
        window = _Window(await self._link.channel(), self._queue, size)
        self._windows.append(window)
        await window.start()
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
