"""What a change of the prefetch does to the messages of a quorum queue, on a real broker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pika
import pytest

from handler.broker.connection import BrokerConnection, Tls, connect
from handler.broker.consumer import Consumer, Delivery
from handler.broker.publisher import Publisher

pytestmark = pytest.mark.broker

MESSAGES = 2000


@asynccontextmanager
async def _filled(url: str, queue: str) -> AsyncIterator[BrokerConnection]:
    """A quorum queue with so many messages that some are always on their way."""
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
    """Acknowledge every message while the consumer's prefetch is changed; return all deliveries."""
    seen: list[Delivery] = []

    async def run() -> None:
        async with _filled(url, queue) as connection:
            everything = asyncio.Event()

            def on_delivery(delivery: Delivery) -> None:
                seen.append(delivery)
                delivery.ack()
                if len({each.message.body for each in seen}) == MESSAGES:
                    everything.set()

            consumer = Consumer(await connection.channel(), queue, on_delivery, lambda: None)
            await change(consumer)
            await asyncio.wait_for(everything.wait(), 60)

    asyncio.run(run())
    return seen


def test_a_prefetch_that_grows_counts_nothing_as_a_crash(amqp_url: str, unique: str) -> None:
    """A counted message is handled alone, as a possible poison message: growth once made more of them."""

    async def grow(consumer: Consumer) -> None:
        for prefetch in (1, 2, 4, 8, 16, 32, 64):
            await consumer.set_prefetch(prefetch)

    seen = _seen(amqp_url, unique, grow)
    assert MESSAGES == len(seen)
    assert 0 == sum(each.message.delivery_count for each in seen)


def test_consuming_that_stopped_resumes_with_the_rest(amqp_url: str, unique: str) -> None:
    """After a stop and a restart under load, every message arrives in the end."""

    async def stop_and_go(consumer: Consumer) -> None:
        for prefetch in (64, 0, 1, 0, 32):
            await consumer.set_prefetch(prefetch)

    seen = _seen(amqp_url, unique, stop_and_go)
    assert MESSAGES == len({each.message.body for each in seen})


def test_a_prefetch_is_never_exceeded(amqp_url: str, unique: str) -> None:
    """Grown step by step, as many messages are in hand as the last step allows, and no more."""

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
