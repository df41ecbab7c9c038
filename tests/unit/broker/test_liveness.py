"""A broker that is silent, or does not answer in time, on a twin of a broker."""

import asyncio
import time
from random import Random

import pika
import pytest
from pika import spec

from handler.broker import liveness
from handler.broker.addresses import Addresses
from handler.broker.connection import HEARTBEAT, BrokerConnection, Tls
from handler.broker.liveness import ANSWER_SECONDS, Liveness
from handler.broker.publisher import Publisher
from tests.patience import patient
from tests.twins.amqp import AmqpTwin


class Heard:
    """What ``Liveness`` is told, and why it has given the connection up."""

    def __init__(self, *, silent: int = 3, move: bool = True) -> None:
        self.bytes = 0
        self.move = move
        self.lost: list[str] = []
        self.liveness = Liveness(lambda: self.bytes, self.lost.append, silent=silent, move=lambda: self.move)

    def tick(self, count: int, *, heard: bool = True) -> list[str]:
        """Let so many seconds pass."""
        for _ in range(count):
            self.bytes += heard
            self.liveness.tick()
        return self.lost


def test_a_silent_broker_is_given_up_after_two_heartbeats() -> None:
    """A connection without a byte for the whole time is lost, and the reason says for how long."""
    site = Heard(silent=12)
    assert [] == site.tick(5, heard=False)
    assert [] == site.tick(1)
    assert [] == site.tick(11, heard=False)
    [reason] = site.tick(1, heard=False)
    assert "no byte for 12 s" in reason


def test_a_connection_without_heartbeats_is_never_silent() -> None:
    """Where heartbeats are switched off, silence says nothing."""
    assert [] == Heard(silent=0).tick(1_000, heard=False)


def test_an_overdue_confirm_is_a_reason_to_move() -> None:
    """The connection is given up once a confirm is overdue, but not before, and not once it has come."""
    site = Heard()
    site.liveness.expect("one", "a publisher confirm", ANSWER_SECONDS)
    site.tick(ANSWER_SECONDS)
    site.liveness.answered("one")
    assert [] == site.tick(10)
    site.liveness.expect("two", "a publisher confirm", ANSWER_SECONDS)
    [reason] = site.tick(ANSWER_SECONDS + 1)
    assert "a publisher confirm" in reason


def test_without_another_address_an_overdue_confirm_is_waited_for() -> None:
    """The connection stays where there is no other address to go to."""
    site = Heard(move=False)
    site.liveness.expect("one", "a publisher confirm", ANSWER_SECONDS)
    assert [] == site.tick(100)


def test_a_blocked_connection_is_not_left() -> None:
    """While the broker blocks publishers, nothing becomes overdue: all its nodes block."""
    site = Heard()
    site.liveness.expect("one", "a publisher confirm", ANSWER_SECONDS)
    site.liveness.blocked = True
    assert [] == site.tick(100)
    site.liveness.blocked = False
    assert [] == site.tick(ANSWER_SECONDS)
    assert site.tick(1)


async def _publisher(connection: BrokerConnection) -> Publisher:
    return await Publisher.open(await connection.channel())


def test_a_late_confirm_moves_to_the_other_address_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A program leaves a broker that does not confirm, and stays where the other one does not either."""
    monkeypatch.setattr(liveness, "TICK", 0.05)

    async def run() -> None:
        deaf: set[type] = {spec.Basic.Publish}
        async with AmqpTwin(unanswered=deaf) as one, AmqpTwin(unanswered=deaf) as two:
            found = Addresses([one.url, two.url], Tls(), moving=True, rng=Random(seed))
            for moved in (True, False):
                async with await found.connect() as connection:
                    publisher = await _publisher(connection)
                    publishing = asyncio.create_task(
                        publisher.publish("", "q", b"body", pika.BasicProperties())
                    )
                    done, _ = await asyncio.wait({connection.closed}, timeout=patient(5) if moved else 1.5)
                    assert bool(done) == moved
                    publishing.cancel()
                    await asyncio.gather(publishing, return_exceptions=True)
            assert (1, 1) == (one.connections, two.connections)

    asyncio.run(run())


@pytest.mark.parametrize("heartbeat", ["", "?heartbeat=2"])
def test_a_broker_that_falls_silent_is_noticed_in_time(heartbeat: str) -> None:
    """A link without a byte is given up after two heartbeats and a second, well within 15 s."""

    async def run() -> None:
        async with AmqpTwin() as twin:
            connection = await Addresses([twin.url + heartbeat], Tls()).connect()
            twin.mute, began = True, time.monotonic()
            async with asyncio.timeout(patient(20)):
                reason = await connection.closed
            took = time.monotonic() - began
            assert "the broker is silent" in str(reason)
            agreed = 2 if heartbeat else HEARTBEAT
            assert 2 * agreed - 1 <= took <= patient(2 * agreed + 2)

    asyncio.run(run())
