"""Publishes outcomes, delayed messages and dead letters; each call returns when the broker has confirmed.

A refused publish, or a channel that the broker closed (because an exchange was deleted, for example), is
retried with growing delays while the message stays in hand. A lost connection ends the retries, since the
broker then delivers the message again. So does a body that is larger than the broker takes: a dead letter is
made to fit, anything else raises ``TooLarge``. An outcome is tried three times; then its message waits, as it
does where no queue is bound for the outcome.

Danger: RabbitMQ 3.10 may refuse every message of a channel for a quorum queue until a node that was lost is
back, if the first one came before the queue had a new leader. So a refusal leads to a new channel. A node
that is cut off from the others refuses on every channel: then the connection is given up for another node.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pika

from events.message import Message
from events.outcome import CONTENT_TYPE, SOURCE, Outcome, probe
from handler.backup.hooks import OnPublish, Published, PublishedKind, Publishing, Unpublished, noop
from handler.broker.body_size import FITTED, ORIGINAL_BYTES, fit, too_large
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.fitting import fitting, header_room
from handler.broker.frames import Properties, prepare
from handler.broker.liveness import ANSWER_SECONDS
from handler.broker.parked import Parked
from handler.broker.properties import PERSISTENT, to_publish
from handler.broker.publisher import Publisher
from handler.broker.routes import EXPIRED, OUTCOME_TYPES, Routes, probe_routes
from handler.broker.topology import Topology, declare
from handler.broker.upkeep import Upkeep
from handler.errors import BrokerError, OutcomeRefused, PublishRefused, TooLarge, Unroutable

log = logging.getLogger(__name__)

_SHOWN = 3
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0
_OUTCOME_DELAYS = (0.1, 0.4, 0.0)
_MOST_RETIRED = 2
"""Channels that are left, and not closed yet, at most."""

_PROPERTIES = {
    each: prepare(
        pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=PERSISTENT, type=each, app_id=SOURCE)
    )
    for each in OUTCOME_TYPES
}
"""The properties of each type of outcome, without the message id."""

_WAITING = pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=PERSISTENT)


class BrokerOutbox:
    """The outbox of one connection. ``notify`` is called when a publish begins and ends.

    ``upkeep`` is a worker's: it says what a deleted queue held. Without it everything is declared again.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        topology: Topology,
        *,
        ignore_unroutable: bool,
        upkeep: Upkeep | None = None,
        notify: OnPublish = noop,
        routes: Routes | None = None,
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._upkeep = upkeep
        self._ignore_unroutable = ignore_unroutable
        self._publisher: Publisher | None = None
        self._outcome_publisher: Publisher | None = None
        self._apart = False
        self._retired: set[asyncio.Task[None]] = set()
        self._opening = asyncio.Lock()
        self._notify = notify
        self._routes = routes or Routes(topology.result_exchange, probe_seconds=topology.delays[0])
        self._parked = Parked(connection, topology, self._return)

    async def publish_outcome(self, outcome: Outcome) -> None:
        """Publish an outcome. Raises ``Unroutable`` where no queue is bound, unless that is ignored.

        Raises ``OutcomeRefused`` where the broker refuses it several times.
        """
        if refusal := self._routes.recently_refused(outcome.type):
            raise refusal
        try:
            exchange, properties = self._topology.result_exchange, _PROPERTIES[outcome.type](outcome.id)
            await self._publish("outcome", exchange, outcome.type, outcome.body, properties)
        except Unroutable as error:
            if self._ignore_unroutable and not isinstance(error, OutcomeRefused):
                return
            self._routes.lost({outcome.type: error})
            raise
        if self._routes.found(outcome.type):
            await self.release_unroutable()

    async def check_routes(self) -> None:
        """Ask by a probe which types of outcome reach a queue, and record it.

        Of a type that does reach one, no second probe is sent: its consumer would see it.
        """
        types = tuple(self._routes.missing) or OUTCOME_TYPES
        missing = await probe_routes(self._probe, types)
        self._routes.lost(missing, outcomes=0)
        found = [self._routes.found(each) for each in types if each not in missing]
        if any(found):
            await self.release_unroutable()

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """Put a wrapped message into the first wait queue whose delay is not shorter."""
        await self._into_queue("wait", self._topology.wait_queue(seconds), body, _WAITING)

    async def return_to_queue(self, body: bytes) -> None:
        """Publish a wrapped message to the exchange that waits return to. Raises ``Unroutable``."""
        await self.send(self._topology.queue, "", body, _WAITING)

    async def delay_unroutable(self, body: bytes, outcome_type: str, *, seconds: float) -> None:
        """See ``handler.backup.ports.Outbox``. An older release declared no queue to park in."""
        if self._routes.take_probe(outcome_type):
            await self.delay(body, seconds=self._topology.delays[0])
            return
        try:
            await self._publish("wait", "", self._topology.parked, body, _WAITING)
        except Unroutable:
            await self.delay(body, seconds=seconds)

    async def release_unroutable(self) -> None:
        """See ``handler.backup.ports.Outbox``. What cannot be returned stays parked."""
        try:
            await self._parked.release()
        except BrokerError as error:
            log.debug("parked outcomes stay parked: %s", error, extra={"action": "outcome.parked"})

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """Publish the original to the dead letters, with ``dl-`` headers added."""
        body, headers = message.body, {**message.headers, **reason}
        while True:
            properties = to_publish(message, {})
            properties.headers = fitting(headers, header_room(self._connection.frame_max, properties))
            try:
                return await self._into_queue("dead_letter", self._topology.dead, body, properties)
            except TooLarge as error:
                body, how = fit(message.body, error.limit)
                headers |= {FITTED: how, ORIGINAL_BYTES: len(message.body)}
                _log_fitted(error, how, reason)

    async def send(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish anything else, confirmed. Raises ``Unroutable``."""
        await self._publish("other", exchange, routing_key, body, properties)

    async def _into_queue(
        self, kind: PublishedKind, queue: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        """Publish into one of our own queues; have it declared again where it was deleted."""
        while True:
            with contextlib.suppress(Unroutable):
                return await self._publish(kind, "", queue, body, properties)
            log.warning(
                "the queue %s was deleted; declaring it again", queue, extra={"action": "topology.missing"}
            )
            await self._pause(_FIRST_DELAY)
            await self._restore()

    async def _publish(
        self, kind: PublishedKind, exchange: str, key: str, body: bytes, properties: Properties
    ) -> None:
        """Publish, and call the hook. Raises as ``_publish_until_confirmed`` does."""
        began = time.perf_counter()
        self._notify(Publishing(kind))
        try:
            if kind == "outcome":
                await self._publish_or_refuse(exchange, key, body, properties)
            else:
                await self._publish_until_confirmed(exchange, key, body, properties)
        except BaseException as error:
            self._notify(Unpublished(kind, unroutable=isinstance(error, Unroutable)))
            raise
        seconds = time.perf_counter() - began
        self._notify(Published(kind, exchange, key, properties.message_id, len(body), seconds, time.time()))

    async def _publish_until_confirmed(
        self, exchange: str, key: str, body: bytes, properties: Properties
    ) -> None:
        """Publish until confirmed. Raises ``Unroutable``, ``TooLarge`` or ``ConnectionLost``."""
        delay, began = _FIRST_DELAY, time.monotonic()
        while True:
            try:
                return await self._publish_once(exchange, key, body, properties)
            except (PublishRefused, ChannelClosed) as error:
                if refused := too_large(error, body):
                    raise refused from error
                log.warning(
                    "publish failed, retrying in %g s: %s", delay, error, extra={"action": "publish.refused"}
                )
                if isinstance(error, PublishRefused) and time.monotonic() - began > ANSWER_SECONDS:
                    self._connection.leave(str(error))
            await self._pause(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _publish_or_refuse(self, exchange: str, key: str, body: bytes, properties: Properties) -> None:
        """Publish an outcome, and try it a few times. Raises ``Unroutable`` or ``ConnectionLost``.

        A consumer's full queue, or a missing right, is no reason to keep the message in hand: a few of them
        would stop the worker. It waits as if no queue were bound.
        """
        for delay in _OUTCOME_DELAYS:
            try:
                if self._apart:
                    publisher = await self._open_apart()
                    return await publisher.publish(exchange, key, body, properties)
                return await self._publish_once(exchange, key, body, properties)
            except PublishRefused as error:
                refusal = OutcomeRefused(str(error))
            except ChannelClosed as error:
                refusal, self._apart = OutcomeRefused(str(error)), True
            await self._pause(delay)
        raise refusal

    async def _probe(self, key: str) -> None:
        """Publish a probe to the result exchange. Raises ``Unroutable`` or ``ConnectionLost``."""
        await self._publish_or_refuse(self._topology.result_exchange, key, probe(), EXPIRED)

    async def _return(self, body: bytes) -> None:
        """Publish a parked message to where waiting messages return."""
        await self._publish("other", self._topology.queue, "", body, _WAITING)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try. Raises ``ConnectionLost`` where the connection is lost."""
        await asyncio.wait({self._connection.closed}, timeout=seconds)
        if self._connection.closed.done():
            raise self._connection.closed.result()

    async def _publish_once(self, exchange: str, key: str, body: bytes, properties: Properties) -> None:
        """Publish on the channel of all messages; after a refusal the next publish opens another one."""
        publisher = await self._open()
        try:
            await publisher.publish(exchange, key, body, properties)
        except PublishRefused:
            if publisher is self._publisher and len(self._retired) < _MOST_RETIRED:
                self._publisher = None
                task = asyncio.create_task(publisher.close_when_idle())
                self._retired.add(task)
                task.add_done_callback(self._retired.discard)
            raise

    async def _open_apart(self) -> Publisher:
        """Return the publisher of outcomes, after one of them closed the channel of all messages."""
        async with self._opening:
            if self._outcome_publisher is None or self._outcome_publisher.closed:
                await declare(self._connection, self._topology)
                self._outcome_publisher = await Publisher.open(await self._connection.channel())
            return self._outcome_publisher

    async def _restore(self) -> None:
        """Have declared again what was deleted."""
        if self._upkeep is not None:
            await self._upkeep.restore(self._connection)
        else:
            await declare(self._connection, self._topology)

    async def _open(self) -> Publisher:
        """Return the publisher, on a new channel where the old one is closed."""
        if self._publisher is not None and not self._publisher.closed:
            return self._publisher
        async with self._opening:
            if self._publisher is None or self._publisher.closed:
                if self._publisher is not None:
                    await self._restore()
                self._publisher = await Publisher.open(await self._connection.channel())
            return self._publisher


def _log_fitted(error: TooLarge, how: str, reason: Mapping[str, Any]) -> None:
    """Log that a dead letter is not byte for byte the message that arrived."""
    lost = f"cut: its last {error.size - error.limit} bytes are lost" if how == "cut" else "published as gzip"
    log.error(
        "a message of %d bytes is too large for a dead letter, and is %s. The broker takes at most %d bytes: "
        "raise max_message_size in rabbitmq.conf",
        error.size,
        lost,
        error.limit,
        extra={"action": "dead_letter.fitted", "event_id": reason.get("dl-event-id")},
    )


class Overdue(Protocol):
    """A recorded message that did not come back in time; see ``handler.ledger.waiting.Overdue``."""

    @property
    def body(self) -> bytes:
        """The body of the waiting message."""

    @property
    def due_at(self) -> float:
        """When it should have come back; seconds since the epoch."""

    @property
    def snapshot_id(self) -> str | None:
        """Its snapshot, where that is known."""


async def publish_again(outbox: BrokerOutbox, exchange: str, overdue: Sequence[Overdue]) -> None:
    """Publish overdue messages to the exchange that waits return to. Raises ``Unroutable``."""
    log.warning(
        "%d messages did not come back from the wait queues in time, and are published again from the "
        "ledger; the earliest was due %.0f s ago. The broker lost them or holds them back: look for nodes "
        "that are down, deleted queues and policies (snapshot-backup doctor)",
        len(overdue),
        time.time() - min(each.due_at for each in overdue),
        extra={
            "action": "sweep.overdue",
            "messages": len(overdue),
            "snapshots": [each.snapshot_id for each in overdue if each.snapshot_id][:_SHOWN],
        },
    )
    properties = pika.BasicProperties(content_type=CONTENT_TYPE, delivery_mode=PERSISTENT)
    await asyncio.gather(*(outbox.send(exchange, "", each.body, properties) for each in overdue))
