"""A run's connection to the broker: publishes events, consumes outcomes and counts messages in queues."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

import pika

from events.outcome import PROBE
from handler import bootstrap
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.consumer import Consumer, Delivery
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import SNAPSHOT_COMPLETED, Binding, Topology, bind, declare
from handler.settings import Settings
from infra.local.samples import Sample

PREFETCH: Final = 1000
IN_FLIGHT: Final = 256
PERSISTENT: Final = 2
NOT_FOUND: Final = 404

Outcome = Mapping[str, Any]


class InUse(RuntimeError):
    """A queue on a given broker is in use: the run and its other user would take each other's messages."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Ready messages in the queue, in all wait queues together, and in the dead-letter queue."""

    ready: int
    waiting: int
    dead: int


class Bus:
    """A run's connection to the broker."""

    def __init__(self, link: BrokerConnection, topology: Topology) -> None:
        self.link = link
        self.topology = topology
        self._outbox = BrokerOutbox(link, topology, ignore_unroutable=False)
        self._outcomes: Consumer | None = None

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connect. Raises `ConnectionLost`."""
        return cls(await bootstrap.open_connection(settings), bootstrap.topology(settings))

    async def require_unused(self) -> None:
        """Return if the queues are not in use: a given broker may be a production broker.

        Raises:
            InUse: a queue has messages or consumers.
        """
        names = [queue.name for queue in self.topology.queues() if queue.name != self.topology.dead]
        for name in names:
            messages, consumers = await self._counts(name)
            if messages or consumers:
                raise InUse(
                    f"queue {name} is in use on this broker ({messages} messages, {consumers} consumers). "
                    "Set SNAPSHOT_QUEUE, SNAPSHOT_EXCHANGE and RESULT_EXCHANGE to unused names, "
                    "for example SNAPSHOT_QUEUE=try-snapshot-backup"
                )

    async def listen(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Declare the topology, and pass each outcome to `on_outcome` from now on."""
        await declare(self.link, self.topology)
        channel = await self.link.channel()
        frame = await channel.call(channel.raw.queue_declare, queue="", exclusive=True, auto_delete=True)
        queue: str = frame.method.queue
        await bind(channel, Binding(self.topology.result_exchange, queue, "#"))

        def on_delivery(delivery: Delivery) -> None:
            event = json.loads(delivery.message.body)
            if event["type"] != PROBE:
                on_outcome(event)
            delivery.ack()

        self._outcomes = Consumer(channel, queue, on_delivery, lambda: None)
        await self._outcomes.set_prefetch(PREFETCH)

    async def send(self, samples: Iterable[Sample]) -> None:
        """Publish the samples, and return when the broker has confirmed all of them."""
        rest = iter(samples)
        while batch := list(islice(rest, IN_FLIGHT)):
            await asyncio.gather(*map(self._send, batch))

    async def _send(self, sample: Sample) -> None:
        message = sample.message
        properties = pika.BasicProperties(
            content_type=message.content_type, headers=dict(message.headers), delivery_mode=PERSISTENT
        )
        exchange = self.topology.snapshot_exchange
        await self._outbox.send(exchange, SNAPSHOT_COMPLETED, message.body, properties)

    async def depths(self) -> Depths:
        """Count the messages in the queues."""
        waits = {self.topology.wait_queue(seconds) for seconds in self.topology.delays}
        waits.add(self.topology.parked)
        ready, _ = await self._counts(self.topology.queue)
        waiting = [await self._counts(name) for name in sorted(waits)]
        dead, _ = await self._counts(self.topology.dead)
        return Depths(ready, sum(messages for messages, _ in waiting), dead)

    async def _counts(self, queue: str) -> tuple[int, int]:
        """Return how many messages and consumers a queue has; 0 for a queue that does not exist."""
        channel = await self.link.channel()
        try:
            frame = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            return 0, 0
        finally:
            await channel.close()
        return frame.method.message_count, frame.method.consumer_count
