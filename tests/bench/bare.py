"""The bare loop, an upper bound for the worker: consume, post, publish with confirm, acknowledge.

It uses the worker's broker and HTTP transport, without models, ledger and policy. Run it as
``python -m tests.bench.bare``, with the worker's settings. It uses pika and asyncio unchanged. With ``lean``
it uses the worker's stream to the broker and its event loop.
"""

import asyncio
import sys
from typing import Any

import pika

from handler import bootstrap
from handler.broker import connection as links
from handler.broker.consumer import Consumer, Delivery
from handler.broker.publisher import Publisher
from handler.settings import load_settings
from handler.vbs.transport.http import http_client
from handler.worker import event_loop


class PlainPublisher(Publisher):
    """A publisher whose frames pika makes and sends."""

    def _send(self, exchange: str, routing_key: str, body: bytes, properties: Any) -> None:
        self._channel.raw.basic_publish(exchange, routing_key, body, properties, mandatory=True)


REQUEST = {"backup": {"volume_id": "v", "snapshot_id": "s", "name": "n"}}


async def run(make: type[Publisher]) -> None:
    settings = load_settings()
    names = bootstrap.topology(settings)
    url = f"{settings.vbs_endpoint}/v2/p/backups"
    tasks: set[asyncio.Task[None]] = set()
    async with http_client(settings) as client, await bootstrap.open_connection(settings) as connection:
        publisher = await make.open(await connection.channel())

        async def handle(delivery: Delivery) -> None:
            answer = await client.post(url, json=REQUEST)
            answer.raise_for_status()
            properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
            await publisher.publish(names.result_exchange, "backup.accepted", answer.content, properties)
            delivery.ack()

        def on_delivery(delivery: Delivery) -> None:
            task = asyncio.create_task(handle(delivery))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        consumer = Consumer(await connection.channel(), names.queue, on_delivery, lambda: None)
        await consumer.set_prefetch(settings.concurrency)
        await connection.closed


def main(*, lean: bool) -> None:
    if lean:
        event_loop.run(run(Publisher))
    else:
        vars(links)["IoServices"] = lambda loop: loop  # pika's own way with an asyncio loop
        asyncio.run(run(PlainPublisher))


if __name__ == "__main__":
    main(lean="lean" in sys.argv)
