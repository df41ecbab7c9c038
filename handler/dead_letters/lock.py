"""One operator at a time: who reads the dead letters has all of them in hand, and others would see none.

The lock is an exclusive queue, which the broker removes with its owner's connection, however that ends.
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
    """Wait until it is our turn and keep it for the block; ``on_wait`` hears once that another has it."""
    channel = await _take(connection, f"{dead}.turn")
    if channel is None:
        on_wait()
    while channel is None:
        await asyncio.sleep(_ASK_SECONDS)
        channel = await _take(connection, f"{dead}.turn")
    try:
        yield
    finally:
        if not channel.closed.done():
            await channel.call(channel.raw.queue_delete, queue=f"{dead}.turn")
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
