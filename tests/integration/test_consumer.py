"""Changes of a consumer's prefetch, with a quorum queue on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pika
import pytest

from handler.broker.addresses import connect
from handler.broker.connection import BrokerConnection, Tls
from handler.broker.consumer import Consumer, Delivery
from handler.broker.publisher import Publisher

pytestmark = pytest.mark.broker

MESSAGES = 2000


@asynccontextmanager
async def _filled(url: str, queue: str) -> AsyncIterator[BrokerConnection]:
    """Declare a quorum queue with so many messages that some are always in flight."""
    async with await connect([url], Tls()) as connection:
        channel = await connection.channel()
        await channel.call(
            channel.raw.queue_declare, queue=queue, durable=True, arguments={"x-queue-type": "quorum"}
        )
        publisher = await Publisher.open(await connection.channel())
        properties = pika.BasicProperties(delivery_mode=2)
        await asyncio.gather(*(publisher.publish("", queue, b"%d" % n, properties) for n in range(MESSAGES)))
        try:
            yield connection
        finally:
            await channel.call(channel.raw.queue_delete, queue=queue)


def _seen(url: str, queue: str, change: Callable[[Consumer], Awaitable[None]]) -> list[Delivery]:
    """Acknowledge all messages while the consumer's prefetch is changed, and return all deliveries.

    Each by a frame of its own: as a worker acknowledges, several by one, fewer messages are on their way.
    """
    seen: list[Delivery] = []

    async def run() -> None:
        async with _filled(url, queue) as connection:
            everything, channel = asyncio.Event(), await connection.channel()

            def on_delivery(delivery: Delivery) -> None:
                seen.append(delivery)
                channel.raw.basic_ack(delivery.tag)
                if len({each.message.body for each in seen}) == MESSAGES:
                    everything.set()

            consumer = Consumer(channel, queue, on_delivery, lambda: None)
            await change(consumer)
            await asyncio.wait_for(everything.wait(), 60)

    asyncio.run(run())
    return seen


def test_a_prefetch_that_grows_counts_nothing_as_a_crash(amqp_url: str, unique: str) -> None:
    """A growing prefetch causes no redelivery, since a redelivered message is handled alone."""

    async def grow(consumer: Consumer) -> None:
        for prefetch in (1, 2, 4, 8, 16, 32, 64):
            await consumer.set_prefetch(prefetch)

    seen = _seen(amqp_url, unique, grow)
    assert MESSAGES == len(seen)
    assert 0 == sum(each.message.delivery_count for each in seen)


def test_consuming_that_stopped_resumes_with_the_rest(amqp_url: str, unique: str) -> None:
    """After consuming stops and resumes under load, all messages arrive."""

    async def stop_and_go(consumer: Consumer) -> None:
        for prefetch in (64, 0, 1, 0, 32):
            await consumer.set_prefetch(prefetch)

    seen = _seen(amqp_url, unique, stop_and_go)
    assert MESSAGES == len({each.message.body for each in seen})


def test_a_prefetch_is_never_exceeded(amqp_url: str, unique: str) -> None:
    """After the prefetch grows in steps, the consumer holds exactly as many messages as it allows."""

    async def run() -> tuple[int, int]:
        async with _filled(amqp_url, unique) as connection:
            in_hand: list[Delivery] = []
            enough = asyncio.Event()

            def on_delivery(delivery: Delivery) -> None:
                in_hand.append(delivery)
                if len(in_hand) == 20:
                    enough.set()

            consumer = Consumer(await connection.channel(), unique, on_delivery, lambda: None)
            for prefetch in (1, 5, 20):
                await consumer.set_prefetch(prefetch)
            await asyncio.wait_for(enough.wait(), 60)
            await consumer.settled()
            return consumer.prefetch, len(in_hand)

    assert (20, 20) == asyncio.run(run())
