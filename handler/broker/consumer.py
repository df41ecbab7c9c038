"""Consumes a queue with a prefetch that can be changed while consuming.

Danger: RabbitMQ 3.10 *counts* a delivery of a quorum queue that is on its way to a consumer which is being
cancelled, as if a process had crashed with it. Each count leads toward the delivery limit. Therefore a
prefetch grows by another consumer on the same channel, never by cancelling. Where it shrinks, cancel first
and acknowledge the messages in hand afterwards, since each acknowledgement lets the broker send the next one.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pika

from events.message import Message
from handler.broker.acknowledgements import Acknowledgements
from handler.broker.connection import Channel
from handler.broker.properties import received


class Delivery(NamedTuple):
    """A delivered message, and what acknowledges the messages of its channel."""

    message: Message
    tag: int
    redelivered: bool
    acknowledgements: Acknowledgements

    def ack(self) -> None:
        """Acknowledge the message, soon. On a closed channel this does nothing: the broker delivers again."""
        self.acknowledgements.add(self.tag)


class Consumer:
    """A consumer of one queue. ``on_cancel`` is called when the broker cancels it."""

    def __init__(
        self,
        channel: Channel,
        queue: str,
        on_delivery: Callable[[Delivery], None],
        on_cancel: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._on_delivery = on_delivery
        self._on_cancel = on_cancel
        self._acknowledgements = Acknowledgements(channel)
        self._shares: dict[str, int] = {}
        self._changing = asyncio.Lock()
        channel.raw.add_on_cancel_callback(self._cancelled)

    @property
    def prefetch(self) -> int:
        """How many messages may be unacknowledged at once: the sum over the consumer tags."""
        return sum(self._shares.values())

    @property
    def tags(self) -> int:
        """How many consumers the broker knows for this one: the prefetch grows by adding some."""
        return len(self._shares)

    @property
    def closed(self) -> bool:
        """Whether the channel is closed."""
        return self._channel.closed.done()

    async def set_prefetch(self, prefetch: int) -> None:
        """Consume with this prefetch; 0 stops. Messages that were delivered before stay in hand."""
        async with self._changing:
            if prefetch < self.prefetch:
                await self._stop()
            if prefetch > self.prefetch:
                await self._start(prefetch - self.prefetch)

    async def settled(self) -> None:
        """Wait until the broker has every acknowledgement so far: without it, it would deliver again.

        Channel methods are handled in order, so the answer to a passive declare proves that.
        """
        self.flush()
        await self._channel.call(self._channel.raw.queue_declare, queue=self._queue, passive=True)

    def flush(self) -> None:
        """Send the acknowledgements so far; whatever is called on the channel next comes after them."""
        self._acknowledgements.flush()

    async def close(self) -> None:
        """Close the channel; the broker delivers again what is not acknowledged."""
        self.flush()
        await self._channel.close()

    async def _start(self, share: int) -> None:
        raw = self._channel.raw
        await self._channel.call(raw.basic_qos, prefetch_count=share)
        frame = await self._channel.call(
            raw.basic_consume, queue=self._queue, on_message_callback=self._deliver
        )
        self._shares[frame.method.consumer_tag] = share

    async def _stop(self) -> None:
        while self._shares:
            tag, _share = self._shares.popitem()
            await self._channel.call(self._cancel, consumer_tag=tag)

    def _cancel(self, *, consumer_tag: str, callback: Callable[[Any], None]) -> None:
        raw = self._channel.raw
        raw.basic_cancel(consumer_tag, callback)
        # pika would reject deliveries that arrive before the broker's answer, and each reject counts toward
        # the delivery limit. pika has no public switch for it. With this, they are delivered like all others.
        raw._cancelled.discard(consumer_tag)  # noqa: SLF001

    def _cancelled(self, frame: Any) -> None:
        self._shares.pop(frame.method.consumer_tag, None)
        self._on_cancel()

    def _deliver(self, _raw: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        tag = method.delivery_tag
        self._acknowledgements.delivered(tag)
        message = received(properties, body, redelivered=method.redelivered)
        self._on_delivery(Delivery(message, tag, method.redelivered, self._acknowledgements))
