"""A consumer session on a real broker, when a pause of the circuit breaker ends at any moment."""

import asyncio
from functools import partial

import pika
import pytest

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.holds import FIRST_PAUSE
from handler.backup.received import Received
from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology
from handler.broker.upkeep import Upkeep
from handler.worker.session import ConsumerSession

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


@pytest.mark.parametrize("reads", range(6))
def test_a_pause_can_end_at_any_moment(amqp_url: str, unique: str, reads: int) -> None:
    """The session consumes again, whichever read of the clock is the first after the pause."""

    async def run() -> None:
        async with await connect([amqp_url], Tls()) as connection:
            channel = await connection.channel()
            await channel.call(channel.raw.queue_declare, queue=unique, durable=True)
            publisher = await Publisher.open(await connection.channel())
            for body in (b"one", b"two"):
                await publisher.publish("", unique, body, pika.BasicProperties(delivery_mode=2))
            clock = Clock()
            breaker = CircuitBreaker(1, clock, doubt_pause=1.0)
            first_of_two = FirstOfTwo(breaker, clock, reads)
            topology = Topology(unique, f"{unique}.in", f"{unique}.out", (1,))
            session = ConsumerSession(
                connection=connection,
                topology=topology,
                handle=first_of_two.handle,
                park=no_park,
                restore=partial(Upkeep(topology).restore, connection),
                breaker=breaker,
                keys=None,
                clock=clock,
            )
            stop = asyncio.Event()
            work = asyncio.create_task(session.run(stop))
            try:
                async with asyncio.timeout(10):
                    await first_of_two.over.wait()
            finally:
                stop.set()
                await work
                await session.drain(1.0)
                await channel.call(channel.raw.queue_delete, queue=unique)

    asyncio.run(run())
