"""The bare filtered replay, an upper bound: scan, publish selected messages with confirm, acknowledge them.

It uses the broker, pika adapter and batches of ``dead-letters replay``. It publishes bodies unchanged, reads
only one header, and is not safe to be killed. Run it as
``python -m tests.bench.bare_replay COUNT CATEGORY``, with the command's settings.
"""

import asyncio
import sys
from typing import Any

import pika

from handler import bootstrap
from handler.broker.connection import BrokerConnection
from handler.broker.publisher import Publisher
from handler.dead_letters.reading import LARGEST_BATCH
from handler.settings import load_settings


async def run(count: int, category: str) -> None:
    settings = load_settings()
    names = bootstrap.topology(settings)
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    async with await bootstrap.open_connection(settings) as connection:
        publisher = await Publisher.open(await connection.channel())
        for start in range(0, count, LARGEST_BATCH):
            await move(
                connection, publisher, names.queue, category, min(LARGEST_BATCH, count - start), properties
            )


async def move(
    connection: BrokerConnection,
    publisher: Publisher,
    queue: str,
    category: str,
    wanted: int,
    properties: Any,
) -> None:
    channel = await connection.channel()
    selected: list[tuple[int, bytes]] = []
    full = asyncio.Event()
    arrived = 0

    def arrive(_raw: object, method: Any, found: pika.BasicProperties, body: bytes) -> None:
        nonlocal arrived
        arrived += 1
        if found.headers and found.headers.get("dl-category") == category:
            selected.append((method.delivery_tag, body))
        if arrived == wanted:
            full.set()

    await channel.call(channel.raw.basic_qos, prefetch_count=wanted)
    consuming = await channel.call(
        channel.raw.basic_consume, queue=f"{queue}.dead", on_message_callback=arrive
    )
    await full.wait()
    await channel.call(channel.raw.basic_cancel, consumer_tag=consuming.method.consumer_tag)
    await asyncio.gather(*(publisher.publish(queue, "", body, properties) for _, body in selected))
    for tag, _ in selected:
        channel.raw.basic_ack(tag)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), sys.argv[2]))
