"""A batch of unacknowledged dead letters, delivered to one consumer on a channel of its own.

Dangers:

- An acknowledgement lets the broker deliver another message, out of order. So the consumer is cancelled
  before the first acknowledgement.
- AMQP does not confirm acknowledgements. The channel of a quorum queue holds back those beyond 32 in flight,
  and loses them if it is closed: of 40 messages that were replayed and acknowledged, 7 came back. So
  acknowledgements are committed as transactions. Each is one command to the queue, which the channel sends
  before it answers. The channel of a classic queue sends all at once, so classic queues need no transactions.
- For each single acknowledgement the broker searches all messages that the channel holds: large batches cost
  more.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from handler.broker.connection import BrokerConnection, Channel
from handler.broker.consumer import Consumer, Delivery
from handler.broker.counts import count_messages
from handler.broker.topology import Queue

_QUIET_SECONDS = 0.2


class Batch:
    """Unacknowledged messages: ``arrived`` of them were delivered, with ``bytes`` of bodies in all."""

    def __init__(self, channel: Channel, queue: Queue) -> None:
        self._channel = channel
        self._queue = queue
        self._consumer = Consumer(channel, queue.name, self._arrive, lambda: None)
        self._wanted = 0
        self._stopping: asyncio.Task[None] | None = None
        self._waiting: list[Delivery] = []
        self._changed = asyncio.Event()
        self._full = asyncio.Event()
        self._filled = asyncio.Event()
        self._removing: list[Delivery] = []
        self._committing = asyncio.Lock()
        self._removed = 0
        self.arrived = 0
        self.bytes = 0

    @classmethod
    async def open(cls, connection: BrokerConnection, queue: Queue) -> "Batch":
        """Open a channel for an empty batch. Raises ``ConnectionLost``."""
        channel = await connection.channel()
        if queue.quorum:
            await channel.call(channel.raw.tx_select)
        return cls(channel, queue)

    async def fill(self, wanted: int) -> bool:
        """Consume ``wanted`` messages; return False if the queue had fewer. Raises ``ChannelClosed``."""
        self._wanted = wanted
        try:
            await self._consumer.set_prefetch(wanted)
            while not self._full.is_set() and not await self._is_empty():
                pass
            return self._full.is_set()
        finally:
            self._stopping = asyncio.create_task(self._consumer.set_prefetch(0))
            await asyncio.sleep(0)  # lets the task send the cancel before any acknowledgement
            self._filled.set()
            self._changed.set()

    async def arrivals(self) -> Sequence[Delivery]:
        """Wait for deliveries and return the new ones; an empty sequence means that the batch is complete."""
        while not self._waiting and not self._filled.is_set():
            self._changed.clear()
            await self._changed.wait()
        arrivals, self._waiting = self._waiting, []
        return arrivals

    async def remove(self, delivery: Delivery) -> None:
        """Acknowledge a message, in one transaction with others that wait. Raises ``ChannelClosed``."""
        self._removing.append(delivery)
        await self._filled.wait()
        async with self._committing:
            if self._channel.closed.done():
                raise self._channel.closed.result()
            removing, self._removing = self._removing, []
            for each in removing:
                each.ack()
            self._consumer.flush()
            if removing and self._queue.quorum:
                await self._channel.call(self._channel.raw.tx_commit)
            self._removed += len(removing)

    async def put_back(self) -> int:
        """Close the channel, so that the broker requeues what was not removed; return their number."""
        if self._stopping:
            await asyncio.gather(self._stopping, return_exceptions=True)
        if self._channel.closed.done():
            return 0
        await self._consumer.close()
        return self.arrived - self._removed

    def _arrive(self, delivery: Delivery) -> None:
        self.arrived += 1
        self.bytes += len(delivery.message.body)
        self._waiting.append(delivery)
        self._changed.set()
        if self.arrived == self._wanted:
            self._full.set()

    async def _is_empty(self) -> bool:
        """Wait for deliveries; return whether the queue has no more. Raises ``ChannelClosed``."""
        before = self.arrived
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                await self._full.wait()
        if self._channel.closed.done():
            raise self._channel.closed.result()
        # An empty queue that delivered nothing for a while has delivered everything.
        return self.arrived == before and await count_messages(self._channel, self._queue.name) == 0
