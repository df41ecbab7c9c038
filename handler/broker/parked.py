"""Parked outcomes: the queue of messages whose outcome is unroutable, and their return once one is routed."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from handler.broker.connection import BrokerConnection, Channel
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Topology

BATCH = 250
"""Messages that return at once: they are in hand meanwhile, and a lost connection counts them."""

_BATCHES = 2
_SECONDS = 2.0


class Parked:
    """Returns parked messages to the queue by ``publish``, which returns once a body is confirmed.

    A message is acknowledged after the broker has confirmed its return. If the process ends in between, the
    message is there twice; its outcome then has the same id. The channel stays open: a closed one forgets
    acknowledgements that a quorum queue holds back.
    """

    def __init__(
        self, connection: BrokerConnection, topology: Topology, publish: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._publish = publish
        self._channel: Channel | None = None
        self._taken: asyncio.Queue[Delivery] = asyncio.Queue()
        self._running = False
        self._again = False

    async def release(self) -> None:
        """Return a batch, and one more where a call came meanwhile. Raises ``BrokerError``.

        It ends soon, since a message is in hand. Each returned message that is published calls it again.
        """
        self._again = True
        if self._running:
            return
        self._running = True
        try:
            for _ in range(_BATCHES):
                if self._again:
                    self._again = False
                    await self._return_batch()
        finally:
            self._running = False

    async def _return_batch(self) -> None:
        channel, queue = await self._open(), self._topology.parked
        answer = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
        count = min(answer.method.message_count, BATCH)
        if not count:
            return
        try:
            await asyncio.gather(*map(self._return, await self._take(count)))
        except BaseException:
            # The broker puts back what was not acknowledged.
            await self._consumer.close()
            raise

    async def _open(self) -> Channel:
        if self._channel is None or self._channel.closed.done():
            self._channel = await self._connection.channel()
            self._taken = asyncio.Queue()
            self._consumer = Consumer(
                self._channel, self._topology.parked, self._taken.put_nowait, lambda: None
            )
        return self._channel

    async def _take(self, count: int) -> Sequence[Delivery]:
        """Consume so many messages, fewer if another worker is faster."""
        taken: list[Delivery] = []
        await self._consumer.set_prefetch(count)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                while len(taken) < count:
                    taken.append(await self._taken.get())
        await self._consumer.set_prefetch(0)
        return taken + [self._taken.get_nowait() for _ in range(self._taken.qsize())]

    async def _return(self, delivery: Delivery) -> None:
        await self._publish(delivery.message.body)
        delivery.ack()
