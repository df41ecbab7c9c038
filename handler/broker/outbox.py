"""Where messages leave: outcomes, waits and dead letters, each confirmed before the call returns.

A refused publish, or a channel that the broker closed (an exchange deleted, say), is tried again with growing
waits while the message stays in hand; only a lost connection ends it, since the broker then delivers again.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import pika

from events.message import Message
from events.outcome import CONTENT_TYPE, SOURCE, Outcome
from handler.backup.hooks import OnPublished, Published, PublishedKind, noop
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.fitting import fitting
from handler.broker.properties import PERSISTENT, to_publish
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology, declare
from handler.errors import PublishRefused, Unroutable
from handler.telemetry.counters import Counters

log = logging.getLogger(__name__)

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 10.0


class BrokerOutbox:
    """The outbox of one connection. ``notify`` hears of what was confirmed; ``figures`` are counted on."""

    def __init__(
        self,
        connection: BrokerConnection,
        topology: Topology,
        *,
        ignore_unroutable: bool,
        counters: Counters | None = None,
        notify: OnPublished = noop,
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._ignore_unroutable = ignore_unroutable
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()
        self._counters = counters or Counters()
        self._notify = notify

    async def publish_outcome(self, outcome: Outcome) -> None:
        """Publish an outcome. Raises ``Unroutable`` where nobody is bound for it, unless that is ignored."""
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
            self._counters.unroutable += 1
            if not self._ignore_unroutable:
                log.warning(
                    "no queue is bound to the exchange %s for %s: bind one, or set RESULT_UNROUTABLE=ignore",
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
        """Publish into one of our own queues, declaring it again if somebody has deleted it."""
        while True:
            try:
                return await self._publish(kind, "", queue, body, properties)
            except Unroutable:
                log.warning("the queue %s was not there", queue, extra={"action": "topology.missing"})
            await self._pause(_FIRST_WAIT)
            await declare(self._connection, self._topology)

    async def _publish(
        self, kind: PublishedKind, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish, counted and told of. Raises as ``_until_taken`` does."""
        began = time.perf_counter()
        self._counters.unconfirmed += 1
        try:
            await self._until_taken(exchange, key, body, properties)
        finally:
            self._counters.unconfirmed -= 1
        seconds = time.perf_counter() - began
        self._notify(Published(kind, exchange, key, properties.message_id, len(body), seconds, time.time()))

    async def _until_taken(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish until the broker has taken it. Raises ``Unroutable``, and ``ConnectionLost`` in the end."""
        wait = _FIRST_WAIT
        while True:
            try:
                publisher = self._publisher
                if publisher is None or publisher.closed:
                    publisher = await self._open()
                return await publisher.publish(exchange, key, body, properties)
            except (PublishRefused, ChannelClosed) as error:
                log.warning("not taken, trying again: %s", error, extra={"action": "publish.refused"})
            await self._pause(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try. Raises ``ConnectionLost`` where there can be none."""
        await asyncio.wait({self._connection.closed}, timeout=seconds)
        if self._connection.closed.done():
            raise self._connection.closed.result()

    async def _open(self) -> Publisher:
        """Return the publisher, on a new channel where the old one is gone."""
        async with self._opening:
            if self._publisher is None or self._publisher.closed:
                if self._publisher is not None:
                    await declare(self._connection, self._topology)
                self._publisher = await Publisher.open(await self._connection.channel())
            return self._publisher
