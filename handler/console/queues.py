"""How many messages each queue holds, and how many consumers read it; asking changes nothing."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from handler import bootstrap
from handler.broker.connection import BrokerConnection, Channel, ChannelClosed
from handler.settings import Settings

FRESH_SECONDS = 2.0
"""For so long an answer is used again, so that a page that refreshes itself costs one connection."""


class QueueCount(NamedTuple):
    """What the broker says of one queue; None where it does not exist."""

    name: str
    ready: int | None
    consumers: int | None


class Queues:
    """Counts the messages of all our queues. ``clock`` gives monotonic seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._counting = asyncio.Lock()
        self._counted_at = -FRESH_SECONDS
        self._counts: Sequence[QueueCount] = ()

    async def count(self) -> Sequence[QueueCount]:
        """Return the counts, the input queue first. Raises ``BrokerError``."""
        async with self._counting:
            if self._clock() - self._counted_at >= FRESH_SECONDS:
                topology = bootstrap.topology(self._settings)
                names = [queue.name for queue in topology.queues()]
                async with await bootstrap.open_connection(self._settings) as connection:
                    self._counts = await asyncio.gather(*(_count(connection, name) for name in names))
                self._counted_at = self._clock()
            return self._counts


async def _count(connection: BrokerConnection, name: str) -> QueueCount:
    """Ask for one queue, on a channel of its own: the broker closes it where the queue does not exist."""
    channel = await connection.channel()
    try:
        return await _declared(channel, name)
    except ChannelClosed:
        return QueueCount(name, None, None)
    finally:
        await channel.close()


async def _declared(channel: Channel, name: str) -> QueueCount:
    answer = await channel.call(channel.raw.queue_declare, queue=name, passive=True)
    return QueueCount(name, int(answer.method.message_count), int(answer.method.consumer_count))
