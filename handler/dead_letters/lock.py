"""A lock on the dead letters, so that one operator reads them at a time.

A reader holds all messages unacknowledged, so a second reader would see an empty queue. The lock is an
exclusive queue: the broker deletes it when its owner's connection ends, even if the process is killed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from handler.broker.connection import BrokerConnection, Channel, ChannelClosed

_LOCKED = 405
_ASK_SECONDS = 0.25


@asynccontextmanager
async def locked(
    connection: BrokerConnection, dead: str, *, on_wait: Callable[[], None]
) -> AsyncIterator[None]:
    """Wait for the lock and hold it for the block. ``on_wait`` is called once if another program holds it."""
    channel = await _take(connection, f"{dead}.lock")
    if channel is None:
        on_wait()
    while channel is None:
        await asyncio.sleep(_ASK_SECONDS)
        channel = await _take(connection, f"{dead}.lock")
    try:
        yield
    finally:
        if not channel.closed.done():
            await channel.call(channel.raw.queue_delete, queue=f"{dead}.lock")
            await channel.close()


async def _take(connection: BrokerConnection, name: str) -> Channel | None:
    channel = await connection.channel()
    try:
        await channel.call(
            channel.raw.queue_declare, queue=name, exclusive=True, arguments={"x-queue-type": "classic"}
        )
    except ChannelClosed as error:
        if error.code == _LOCKED:
            return None
        raise
    return channel
