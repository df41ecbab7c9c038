"""Publishes outcomes, delayed messages and dead letters; each call returns when the broker has confirmed.

A refused publish, or a channel that the broker closed (because an exchange was deleted, for example), is
retried with growing delays while the message stays in hand. Only a lost connection ends the retries, since
the broker then delivers the message again.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import pika

from events.message import Message
from events.outcome import CONTENT_TYPE, SOURCE, Outcome
from handler.backup.hooks import OnPublish, Published, PublishedKind, Publishing, Unpublished, noop
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.fitting import fitting
from handler.broker.properties import PERSISTENT, to_publish
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology, declare
from handler.errors import PublishRefused, Unroutable

log = logging.getLogger(__name__)

_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0


class BrokerOutbox:
    """The outbox of one connection. ``notify`` is called when a publish begins and ends."""

    def __init__(
        self,
        connection: BrokerConnection,
        topology: Topology,
        *,
        ignore_unroutable: bool,
        notify: OnPublish = noop,
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._ignore_unroutable = ignore_unroutable
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()
        self._notify = notify

    async def publish_outcome(self, outcome: Outcome) -> None:
        """Publish an outcome. Raises ``Unroutable`` where no queue is bound, unless that is ignored."""
        properties = pika.BasicProperties(
            content_type=CONTENT_TYPE,
            delivery_mode=PERSISTENT,
            message_id=outcome.id,
            type=outcome.type,
            app_id=SOURCE,
        )
        try:
            exchange = self._topology.result_exchange
            await self._publish("outcome", exchange, outcome.type, outcome.body, properties)
        except Unroutable:
            if not self._ignore_unroutable:
                log.warning(
                    "outcome not published, retried later: no queue is bound to the exchange %s for %s; "
                    "bind one, or set RESULT_UNROUTABLE=ignore",
                    self._topology.result_exchange,
                    outcome.type,
                    extra={"action": "outcome.unroutable"},
                )
                raise

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """Put a wrapped message into the first wait queue whose delay is not shorter."""
        properties = pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=PERSISTENT)
        await self._into_queue("wait", self._topology.wait_queue(seconds), body, properties)

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """Publish the original to the dead letters, with ``dl-`` headers added."""
        properties = to_publish(message, fitting({**message.headers, **reason}))
        await self._into_queue("dead_letter", self._topology.dead, message.body, properties)

    async def send(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish anything else, confirmed. Raises ``Unroutable``."""
        await self._publish("other", exchange, routing_key, body, properties)

    async def _into_queue(
        self, kind: PublishedKind, queue: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish into one of our own queues; declare it again where it was deleted."""
        while True:
            try:
                return await self._publish(kind, "", queue, body, properties)
            except Unroutable:
                log.warning(
                    "the queue %s was deleted; declaring it again",
                    queue,
                    extra={"action": "topology.missing"},
                )
            await self._pause(_FIRST_DELAY)
            await declare(self._connection, self._topology)

    async def _publish(
        self, kind: PublishedKind, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish, and call the hook. Raises as ``_publish_until_confirmed`` does."""
        began = time.perf_counter()
        self._notify(Publishing(kind))
        try:
            await self._publish_until_confirmed(exchange, key, body, properties)
        except BaseException as error:
            self._notify(Unpublished(kind, unroutable=isinstance(error, Unroutable)))
            raise
        seconds = time.perf_counter() - began
        self._notify(Published(kind, exchange, key, properties.message_id, len(body), seconds, time.time()))

    async def _publish_until_confirmed(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish until the broker has confirmed. Raises ``Unroutable`` or ``ConnectionLost``."""
        delay = _FIRST_DELAY
        while True:
            try:
                publisher = self._publisher
                if publisher is None or publisher.closed:
                    publisher = await self._open()
                return await publisher.publish(exchange, key, body, properties)
            except (PublishRefused, ChannelClosed) as error:
                log.warning(
                    "publish failed, retrying in %g s: %s", delay, error, extra={"action": "publish.refused"}
                )
            await self._pause(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try. Raises ``ConnectionLost`` where the connection is lost."""
        await asyncio.wait({self._connection.closed}, timeout=seconds)
        if self._connection.closed.done():
            raise self._connection.closed.result()

    async def _open(self) -> Publisher:
        """Return the publisher, on a new channel where the old one is closed."""
        async with self._opening:
            if self._publisher is None or self._publisher.closed:
                if self._publisher is not None:
                    await declare(self._connection, self._topology)
                self._publisher = await Publisher.open(await self._connection.channel())
            return self._publisher
