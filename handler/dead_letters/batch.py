"""Some dead letters in hand: what one consumer, on a channel of its own, took in one go.

Dangers:

- An acknowledgement makes room for a message that comes out of its turn. So the consumer is cancelled before
  anything is taken away.
- AMQP does not confirm acknowledgements, and the channel of a quorum queue holds back those beyond 32 that
  are under way; closed then, it forgets them: of 40 messages that were sent back and acknowledged, 7 came
  back. So they are committed as transactions, each of which is one command to the queue, passed on before it
  is answered. The channel of a classic queue passes all on at once, so a broker without quorum queues need
  not know transactions.
- The broker searches all that a channel holds for each single acknowledgement: large windows cost more.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from handler.broker.connection import BrokerConnection, Channel
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Queue

_QUIET_SECONDS = 0.2


class Batch:
    """Messages in hand. ``arrived`` and ``bytes`` say how many have come, and how large their bodies are."""

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
        """Make one that is still empty. Raises ``ConnectionLost``."""
        channel = await connection.channel()
        if queue.quorum:
            await channel.call(channel.raw.tx_select)
        return cls(channel, queue)

    async def fill(self, wanted: int) -> bool:
        """Let so many messages come; return False where the queue had fewer. Raises ``ChannelClosed``."""
        self._wanted = wanted
        try:
            await self._consumer.set_prefetch(wanted)
            while not self._full.is_set() and not await self._is_empty():
                pass
            return self._full.is_set()
        finally:
            self._stopping = asyncio.create_task(self._consumer.set_prefetch(0))
            await asyncio.sleep(0)  # the cancelling is on its way, before any acknowledgement
            self._filled.set()
            self._changed.set()

    async def arrivals(self) -> Sequence[Delivery]:
        """Return what has come since the last time, waiting for some; nothing where no more will come."""
        while not self._waiting and not self._filled.is_set():
            self._changed.clear()
            await self._changed.wait()
        arrivals, self._waiting = self._waiting, []
        return arrivals

    async def remove(self, delivery: Delivery) -> None:
        """Remove a message for good, in one go with others that leave now. Raises ``ChannelClosed``."""
        self._removing.append(delivery)
        await self._filled.wait()
        async with self._committing:
            if self._channel.closed.done():
                raise self._channel.closed.result()
            removing, self._removing = self._removing, []
            for each in removing:
                each.ack()
            if removing and self._queue.quorum:
                await self._channel.call(self._channel.raw.tx_commit)
            self._removed += len(removing)

    async def put_back(self) -> int:
        """Return what was not taken away, and how many messages that are."""
        if self._stopping:
            await asyncio.gather(self._stopping, return_exceptions=True)
        if self._channel.closed.done():
            return 0
        await self._channel.close()
        return self.arrived - self._removed

    def _arrive(self, delivery: Delivery) -> None:
        self.arrived += 1
        self.bytes += len(delivery.message.body)
        self._waiting.append(delivery)
        self._changed.set()
        if self.arrived == self._wanted:
            self._full.set()

    async def _is_empty(self) -> bool:
        """Wait for what comes, and tell whether the queue has no more. Raises ``ChannelClosed``."""
        before = self.arrived
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                await self._full.wait()
        if self._channel.closed.done():
            raise self._channel.closed.result()
        # One that is empty and was quiet has delivered all it has.
        return self.arrived == before and await count(self._channel, self._queue.name) == 0


async def count(channel: Channel, queue: str) -> int:
    """Ask how many messages are ready. Raises ``ChannelClosed``."""
    answer = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    return int(answer.method.message_count)
