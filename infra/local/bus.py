"""Our side of the broker in a run: events go in, outcomes come out, and the queues are counted."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

import pika

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
    """The queue is somebody's: his messages would be taken, or ours would."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Messages that are ready in the queue, in all wait queues, and among the dead letters."""

    ready: int
    waiting: int
    dead: int


class Bus:
    """One connection to the broker."""

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
        """Return if nobody uses the queue: a given broker may be one that people rely on.

        Raises:
            InUse: somebody consumes it, or messages wait in it.
        """
        names = [queue.name for queue in self.topology.queues() if queue.name != self.topology.dead]
        for name in names:
            messages, consumers = await self._look(name)
            if messages or consumers:
                raise InUse(
                    f"{name} is in use on this broker ({messages} messages, {consumers} consumers): "
                    "set SNAPSHOT_QUEUE, SNAPSHOT_EXCHANGE and RESULT_EXCHANGE to names of your own"
                )

    async def listen(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Declare everything, and have each outcome handed to `on_outcome` from now on."""
        await declare(self.link, self.topology)
        channel = await self.link.channel()
        frame = await channel.call(channel.raw.queue_declare, queue="", exclusive=True, auto_delete=True)
        queue: str = frame.method.queue
        await bind(channel, Binding(self.topology.result_exchange, queue, "#"))

        def on_delivery(delivery: Delivery) -> None:
            on_outcome(json.loads(delivery.message.body))
            delivery.ack()

        self._outcomes = Consumer(channel, queue, on_delivery, lambda: None)
        await self._outcomes.set_prefetch(PREFETCH)

    async def send(self, samples: Iterable[Sample]) -> None:
        """Publish, and return when the broker has confirmed them all."""
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
        """Count what is in the queues."""
        waits = {self.topology.wait_queue(seconds) for seconds in self.topology.delays}
        ready, _ = await self._look(self.topology.queue)
        waiting = [await self._look(name) for name in sorted(waits)]
        dead, _ = await self._look(self.topology.dead)
        return Depths(ready, sum(messages for messages, _ in waiting), dead)

    async def _look(self, queue: str) -> tuple[int, int]:
        """Ask for a queue's messages and consumers; one that is not there has none."""
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
