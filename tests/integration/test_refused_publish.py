"""A quorum queue or its node refuses messages: the outbox tries another channel, and then another address."""

import asyncio
from collections.abc import Callable
from random import Random

import pika
import pytest

from handler.broker import outbox as outboxes
from handler.broker.addresses import Addresses
from handler.broker.connection import BrokerConnection, Tls
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import Topology
from handler.errors import ConnectionLost
from tests.patience import patient

pytestmark = pytest.mark.broker

WAIT_SECONDS = 30.0
PERSISTENT = pika.BasicProperties(delivery_mode=2)
FULL = {"x-max-length": 1, "x-overflow": "reject-publish"}


async def full_queue(connection: BrokerConnection, name: str) -> BrokerOutbox:
    """Declare a queue that has all that it takes; return an outbox."""
    channel = await connection.channel()
    await channel.call(channel.raw.queue_declare, queue=name, arguments=FULL, exclusive=True)
    outbox = BrokerOutbox(connection, Topology(name, "in", "out", (1,)), ignore_unroutable=False)
    await outbox.send("", name, b"fills it", PERSISTENT)
    return outbox


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


def test_a_refused_message_is_published_again_on_another_channel(amqp_url: str, unique: str) -> None:
    """RabbitMQ 3.10 may refuse all of a channel until a lost node is back; the refused channel is closed."""

    async def body() -> None:
        async with await Addresses([amqp_url], Tls()).connect() as connection:
            outbox = await full_queue(connection, unique)
            first = outbox._publisher
            assert first is not None
            async with asyncio.timeout(patient(WAIT_SECONDS)):
                sending = asyncio.create_task(outbox.send("", unique, b"refused", PERSISTENT))
                await until(lambda: outbox._publisher is not first)
                channel = await connection.channel()
                await channel.call(channel.raw.queue_purge, queue=unique)
                await sending
                await until(lambda: first.closed)

    asyncio.run(body())


def test_many_refused_messages_open_few_channels(amqp_url: str, unique: str) -> None:
    """A queue that is full for long refuses a hundred messages again and again: the connection holds."""

    async def body() -> None:
        async with await Addresses([amqp_url], Tls()).connect() as connection:
            outbox = await full_queue(connection, unique)
            sends = [asyncio.create_task(outbox.send("", unique, b"x", PERSISTENT)) for _ in range(100)]
            await asyncio.wait(sends, timeout=3.0)
            assert not connection.closed.done()
            for send in sends:
                send.cancel()
            await asyncio.gather(*sends, return_exceptions=True)

    asyncio.run(body())


def test_a_node_that_goes_on_refusing_is_left_for_another_address(
    amqp_url: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is cut off from the others refuses everything; where all refuse, it is left once."""
    monkeypatch.setattr(outboxes, "ANSWER_SECONDS", 0)

    async def body() -> None:
        addresses = Addresses([amqp_url, f"{amqp_url}?heartbeat=30"], Tls(), moving=True, rng=Random(1))
        connection = await addresses.connect()
        outbox = await full_queue(connection, unique)
        with pytest.raises(ConnectionLost, match=r"refused a message.*another address is tried"):
            async with asyncio.timeout(patient(WAIT_SECONDS)):
                await outbox.send("", unique, b"refused", PERSISTENT)
        assert not addresses.move(seldom=True)

    asyncio.run(body())
