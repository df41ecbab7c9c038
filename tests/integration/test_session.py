"""A consumer session on a real broker, when a pause of the circuit breaker ends at any moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pika
import pytest

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.holds import FIRST_PAUSE
from handler.backup.received import Received
from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.consumer import Delivery
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology
from handler.broker.upkeep import Upkeep
from handler.worker.session import ConsumerSession
from tests.patience import patient

pytestmark = pytest.mark.broker


class Clock:
    """A clock that stands still, and jumps past every pause after ``jump_in`` more reads."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.jump_in: int | None = None

    def __call__(self) -> float:
        if self.jump_in is not None:
            self.jump_in -= 1
            if self.jump_in < 0:
                self.now += 2 * FIRST_PAUSE
                self.jump_in = None
        return self.now


async def no_park(received: Received) -> None:
    """Fail: none of the messages is possible poison."""
    raise AssertionError(received)


class FirstOfTwo:
    """Handles two messages: the first finds the service down, and the second ends the test."""

    def __init__(self, breaker: CircuitBreaker, clock: Clock, reads: int) -> None:
        self.breaker = breaker
        self.clock = clock
        self.reads = reads
        self.handled = 0
        self.over = asyncio.Event()

    async def handle(self, _received: Received) -> None:
        self.handled += 1
        if self.handled == 2:
            self.over.set()
            return
        self.breaker.record_failure(ScopedFailure("service", "down"))
        self.clock.jump_in = self.reads


@asynccontextmanager
async def consuming(
    amqp_url: str, queue: str, over: asyncio.Event, **given: Any
) -> AsyncIterator[ConsumerSession]:
    """Run a session on a queue with two messages, and wait until the test is ``over``."""
    async with await connect([amqp_url], Tls()) as connection:
        channel = await connection.channel()
        await channel.call(channel.raw.queue_declare, queue=queue, durable=True)
        publisher = await Publisher.open(await connection.channel())
        for body in (b"one", b"two"):
            await publisher.publish("", queue, body, pika.BasicProperties(delivery_mode=2))
        topology = Topology(queue, f"{queue}.in", f"{queue}.out", (1,))
        session = ConsumerSession(
            connection=connection,
            topology=topology,
            park=no_park,
            restore=partial(Upkeep(topology).restore, connection),
            keys=None,
            **given,
        )
        yield session
        stop = asyncio.Event()
        work = asyncio.create_task(session.run(stop))
        try:
            async with asyncio.timeout(patient(30)):
                await over.wait()
        finally:
            stop.set()
            await work
            await session.drain(1.0)
            await channel.call(channel.raw.queue_delete, queue=queue)


@pytest.mark.parametrize("reads", range(6))
def test_a_pause_can_end_at_any_moment(amqp_url: str, unique: str, reads: int) -> None:
    """The session consumes again, whichever read of the clock is the first after the pause."""

    async def run() -> None:
        clock = Clock()
        breaker = CircuitBreaker(1, clock, doubt_pause=1.0)
        first_of_two = FirstOfTwo(breaker, clock, reads)
        async with consuming(
            amqp_url, unique, first_of_two.over, handle=first_of_two.handle, breaker=breaker, clock=clock
        ):
            pass

    asyncio.run(run())


def test_a_probe_is_acknowledged_once_consuming_has_stopped(
    amqp_url: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acknowledgement asks for the next message; one that meets a cancel is counted as a crash."""
    consumers: list[int] = []

    async def run() -> None:
        clock, over, acknowledge = Clock(), asyncio.Event(), Delivery.ack
        breaker = CircuitBreaker(1, clock, doubt_pause=1.0)

        async def handle(_received: Received) -> None:
            breaker.record_failure(ScopedFailure("service", "down"))

        def ack(delivery: Delivery) -> None:
            consumers.append(session.consumers)
            acknowledge(delivery)
            over.set()

        monkeypatch.setattr(Delivery, "ack", ack)
        async with consuming(amqp_url, unique, over, handle=handle, breaker=breaker, clock=clock) as session:
            pass

    asyncio.run(run())
    assert [0] == consumers
