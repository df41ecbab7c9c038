"""Hooks of the outbox and of a consumer session, on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pika
import pytest

from handler.backup.breaker import CircuitBreaker
from handler.backup.hooks import Published, Publishing, Redelivered, Unpublished
from handler.backup.received import Received
from handler.broker.addresses import connect
from handler.broker.connection import BrokerConnection, Tls
from handler.broker.outbox import BrokerOutbox
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology
from handler.broker.upkeep import Upkeep
from handler.errors import ConnectionLost, Unroutable
from handler.worker.session import ConsumerSession
from tests.integration.test_session import no_park
from tests.patience import patient

pytestmark = pytest.mark.broker

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@asynccontextmanager
async def _queue(url: str, name: str) -> AsyncIterator[BrokerConnection]:
    """Declare an empty quorum queue, and yield a connection."""
    async with await connect([url], Tls()) as connection:
        channel = await connection.channel()
        arguments = {"x-queue-type": "quorum"}
        await channel.call(channel.raw.queue_declare, queue=name, durable=True, arguments=arguments)
        try:
            yield connection
        finally:
            await channel.call(channel.raw.queue_delete, queue=name)


def test_the_outbox_reports_the_begin_and_the_end_of_each_publish(amqp_url: str, unique: str) -> None:
    """The outbox reports a confirmed publish, an unroutable one, and one on a lost connection."""
    reported: list[Any] = []
    topology = Topology(unique, unique, unique, (5,))

    async def run() -> None:
        async with _queue(amqp_url, unique):
            connection = await connect([amqp_url], Tls())
            outbox = BrokerOutbox(connection, topology, ignore_unroutable=False, notify=reported.append)
            await outbox.send("", unique, b"body", PERSISTENT)
            with pytest.raises(Unroutable):
                await outbox.send("", f"{unique}.missing", b"body", PERSISTENT)
            await connection.close()
            with pytest.raises(ConnectionLost):
                await outbox.send("", unique, b"body", PERSISTENT)

    asyncio.run(run())
    begin, published, *others = reported
    assert Publishing("other") == begin
    assert ("other", unique, 4) == (published.kind, published.routing_key, published.size)
    assert isinstance(published, Published)
    assert [
        Publishing("other"),
        Unpublished("other", unroutable=True),
        Publishing("other"),
        Unpublished("other", unroutable=False),
    ] == others


async def _deliver_and_drop(connection: BrokerConnection, queue: str) -> None:
    """Consume a message, and close the channel without an acknowledgement."""
    channel = await connection.channel()
    delivered = asyncio.Event()
    await channel.call(channel.raw.basic_consume, queue=queue, on_message_callback=lambda *_: delivered.set())
    await delivered.wait()
    await channel.close()


def test_a_session_reports_a_redelivery(amqp_url: str, unique: str) -> None:
    """A session reports a message that came back from another consumer, with the broker's count."""
    reported: list[Redelivered] = []

    async def run() -> None:
        async with _queue(amqp_url, unique) as connection, asyncio.timeout(patient(30)):
            publisher = await Publisher.open(await connection.channel())
            await publisher.publish("", unique, b"body", PERSISTENT)
            await _deliver_and_drop(connection, unique)
            handled, stop = asyncio.Event(), asyncio.Event()

            async def handle(_received: Received) -> None:
                handled.set()

            topology = Topology(unique, unique, unique, (5,))
            session = ConsumerSession(
                connection=connection,
                topology=topology,
                handle=handle,
                park=no_park,
                restore=partial(Upkeep(topology).restore, connection),
                breaker=CircuitBreaker(1, lambda: 1000.0, doubt_pause=1.0),
                clock=lambda: 1000.0,
                keys=None,
                notify=reported.append,
            )
            work = asyncio.create_task(session.run(stop))
            await handled.wait()
            stop.set()
            await work
            await session.drain(1.0)

    asyncio.run(run())
    assert [Redelivered(1)] == reported
