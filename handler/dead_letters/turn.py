"""One operator at a time: who reads the dead letters has all of them in hand, and others would see none.

The lock is an exclusive queue, which the broker removes with its owner's connection, however that ends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from handler.broker.link import Channel, ChannelClosed, Link

_LOCKED = 405
_ASK_SECONDS = 0.25


@asynccontextmanager
async def turn(link: Link, dead: str, *, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Wait until it is our turn and keep it for the block; ``on_wait`` hears once that another has it."""
    channel = await _take(link, f"{dead}.turn")
    if channel is None:
        on_wait()
    while channel is None:
        await asyncio.sleep(_ASK_SECONDS)
        channel = await _take(link, f"{dead}.turn")
    try:
        yield
    finally:
        if not channel.closed.done():
            await channel.call(channel.raw.queue_delete, queue=f"{dead}.turn")
            await channel.close()


async def _take(link: Link, name: str) -> Channel | None:
    channel = await link.channel()
    try:
        await channel.call(
            channel.raw.queue_declare, queue=name, exclusive=True, arguments={"x-queue-type": "classic"}
        )
    except ChannelClosed as error:
        if error.code == _LOCKED:
            return None
        raise
    return channel
