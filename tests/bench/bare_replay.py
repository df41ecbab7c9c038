"""The filtered replay that no promise can beat: scan, publish what is chosen with confirm, acknowledge it.

Same broker, same pika adapter, same windows as ``dead-letters replay``; the bodies go as they are, nothing is
read but one header, and where a killed run would leave what is nobody's care. Run as
``python -m tests.bench.bare_replay COUNT CATEGORY``, with the command's settings.
"""

import asyncio
import sys
from typing import Any

import pika

from handler import bootstrap
from handler.broker.link import Link
from handler.broker.publisher import Publisher
from handler.dead_letters.reading import LARGEST_WINDOW
from handler.settings import load_settings


async def run(count: int, category: str) -> None:
    settings = load_settings()
    names = bootstrap.topology(settings)
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    async with await bootstrap.open_link(settings) as link:
        publisher = await Publisher.open(await link.channel())
        for start in range(0, count, LARGEST_WINDOW):
            await move(link, publisher, names.queue, category, min(LARGEST_WINDOW, count - start), properties)


async def move(
    link: Link, publisher: Publisher, queue: str, category: str, wanted: int, properties: Any
) -> None:
    channel = await link.channel()
    chosen: list[tuple[int, bytes]] = []
    full = asyncio.Event()
    arrived = 0

    def arrive(_raw: object, method: Any, found: pika.BasicProperties, body: bytes) -> None:
        nonlocal arrived
        arrived += 1
        if found.headers and found.headers.get("dl-category") == category:
            chosen.append((method.delivery_tag, body))
        if arrived == wanted:
            full.set()

    await channel.call(channel.raw.basic_qos, prefetch_count=wanted)
    consuming = await channel.call(
        channel.raw.basic_consume, queue=f"{queue}.dead", on_message_callback=arrive
    )
    await full.wait()
    await channel.call(channel.raw.basic_cancel, consumer_tag=consuming.method.consumer_tag)
    await asyncio.gather(*(publisher.publish(queue, "", body, properties) for _, body in chosen))
    for tag, _ in chosen:
        channel.raw.basic_ack(tag)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), sys.argv[2]))
