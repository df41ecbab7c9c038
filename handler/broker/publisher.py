"""Publishes with publisher confirms: one future for each message, done when the broker has confirmed.

RabbitMQ *returns and then confirms* a mandatory message that no queue is bound for: the return counts.
"""

import asyncio
from collections import OrderedDict
from typing import Any

import pika
from pika.exceptions import AMQPError
from pika.spec import Basic

from handler.broker.connection import Channel, ChannelClosed
from handler.broker.frames import Properties, PublishFrames
from handler.errors import PublishRefused, Unroutable


class _Pending:
    __slots__ = ("confirmed", "returned", "route")

    def __init__(self, confirmed: asyncio.Future[None], route: tuple[str, str, str | None]) -> None:
        self.confirmed = confirmed
        self.route = route
        self.returned = False


class Publisher:
    """Publishes on a channel in confirm mode. On each new channel, delivery tags count from 1."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames = PublishFrames(channel.number, channel.frame_max)
        self._tag = 0
        self._pending: OrderedDict[int, _Pending] = OrderedDict()
        channel.raw.add_on_return_callback(self._on_return)
        channel.closed.add_done_callback(self._on_closed)

    @classmethod
    async def open(cls, channel: Channel) -> "Publisher":
        """Put the channel into confirm mode."""
        publisher = cls(channel)
        await channel.call(channel.raw.confirm_delivery, ack_nack_callback=publisher.on_confirm)
        return publisher

    @property
    def outstanding(self) -> int:
        """How many messages the broker has not confirmed yet."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Whether the channel is closed."""
        return self._channel.closed.done()

    async def close_when_idle(self) -> None:
        """Close the channel once nothing is outstanding: closing it loses the confirms that are to come."""
        if self._pending:
            await asyncio.wait({each.confirmed for each in self._pending.values()})
        await self._channel.close()

    async def publish(self, exchange: str, routing_key: str, body: bytes, properties: Properties) -> None:
        """Publish, mandatory, and return when the broker has confirmed.

        Raises:
            Unroutable: no queue is bound for it.
            PublishRefused: the broker refused it (nack).
            ChannelClosed: the channel is closed; whether the broker has the message is not known.

        """
        if self._channel.closed.done():
            raise self._channel.closed.result()
        try:
            self._send(exchange, routing_key, body, properties)
        except AMQPError as error:
            raise ChannelClosed(str(error)) from error
        self._tag += 1
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending[self._tag] = _Pending(confirmed, (exchange, routing_key, properties.message_id))
        self._channel.liveness.expect(confirmed, "a publisher confirm")
        try:
            await confirmed
        finally:
            self._channel.liveness.answered(confirmed)

    def _send(self, exchange: str, routing_key: str, body: bytes, properties: Properties) -> None:
        self._channel.write(self._frames.make(exchange, routing_key, body, properties))

    def on_confirm(self, frame: Any) -> None:
        """Settle the messages that an ack or nack of the broker names."""
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self._pending if tag <= method.delivery_tag]
        for tag in tags:
            if pending := self._pending.pop(tag, None):
                _settle(pending, refused=isinstance(method, Basic.Nack))

    def _on_return(self, _raw: object, method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        # A return carries no tag. Pending messages of the same route and id are copies of one message, so it
        # is safe to treat all of them as returned.
        route = (method.exchange, method.routing_key, properties.message_id)
        for pending in self._pending.values():
            if pending.route == route:
                pending.returned = True

    def _on_closed(self, closed: "asyncio.Future[ChannelClosed]") -> None:
        for pending in self._pending.values():
            if not pending.confirmed.done():
                pending.confirmed.set_exception(closed.result())
        self._pending.clear()


def _settle(pending: _Pending, *, refused: bool) -> None:
    exchange, routing_key, _ = pending.route
    if pending.confirmed.done():
        return
    if refused:
        pending.confirmed.set_exception(
            PublishRefused(f"the broker refused a message for {exchange or routing_key}")
        )
    elif pending.returned:
        pending.confirmed.set_exception(Unroutable(f"no queue is bound to {exchange!r} for {routing_key!r}"))
    else:
        pending.confirmed.set_result(None)
