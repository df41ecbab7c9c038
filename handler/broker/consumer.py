"""Consuming: deliveries come in as they are, as many unacknowledged as the present prefetch allows.

Danger: what is on its way to a consumer that is just being cancelled comes back *counted*, as if a process
had ended with it (RabbitMQ 3.10, quorum queues), and each such count leads toward the delivery limit. So a
prefetch grows by one more consumer beside those that there are, never by cancelling; and where it shrinks,
what is in hand is best acknowledged after the cancelling, since each acknowledgement asks for the next.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import pika
from pika.exceptions import AMQPError

from events.message import Message
from handler.broker.connection import Channel
from handler.broker.properties import received

log = logging.getLogger(__name__)


class Delivery(NamedTuple):
    """A message in hand, and the channel that it must be acknowledged on."""

    message: Message
    tag: int
    redelivered: bool
    channel: Channel

    def ack(self) -> None:
        """Acknowledge; on a channel that is gone this does nothing, since the broker delivers again."""
        if self.channel.closed.done():
            return
        try:
            self.channel.raw.basic_ack(self.tag)
        except AMQPError as error:
            log.debug("not acknowledged: %s", error, extra={"action": "message.unacknowledged"})


class Consumer:
    """A consumer of one queue whose prefetch can be changed; ``on_cancel`` hears that the broker ended it."""

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
        self._shares: dict[str, int] = {}
        self._changing = asyncio.Lock()
        channel.raw.add_on_cancel_callback(self._cancelled)

    @property
    def prefetch(self) -> int:
        """How many may be in hand at once; AMQP counts for each consumer tag apart."""
        return sum(self._shares.values())

    @property
    def closed(self) -> bool:
        """Whether its channel is gone."""
        return self._channel.closed.done()

    async def set_prefetch(self, prefetch: int) -> None:
        """Consume with this prefetch; 0 stops. What was delivered before stays in hand."""
        async with self._changing:
            if prefetch < self.prefetch:
                await self._stop()
            if prefetch > self.prefetch:
                await self._start(prefetch - self.prefetch)

    async def settled(self) -> None:
        """Wait until the broker has taken every acknowledgement so far: what has not got there comes back."""
        await self._channel.call(self._channel.raw.queue_declare, queue=self._queue, passive=True)

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
        # What arrives before the broker's answer pika would reject, and each return counts toward the
        # delivery limit. It has no public switch for that; so it is handed to us like any other delivery.
        raw._cancelled.discard(consumer_tag)  # noqa: SLF001

    def _cancelled(self, frame: Any) -> None:
        self._shares.pop(frame.method.consumer_tag, None)
        self._on_cancel()

    def _deliver(self, _raw: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        message = received(properties, body, redelivered=method.redelivered)
        self._on_delivery(Delivery(message, method.delivery_tag, method.redelivered, self._channel))
