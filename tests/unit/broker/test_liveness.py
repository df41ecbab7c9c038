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
from handler.broker.liveness import ANSWER_SECONDS, COMPARE_SECONDS, Liveness
from handler.broker.publisher import Publisher
from tests.patience import patient
from tests.twins import amqp
from tests.twins.amqp import AmqpTwin


class Heard:
    """What ``Liveness`` is told, and why it has given the connection up."""

    def __init__(self, *, silent: int = 3, move: bool = True) -> None:
        self.bytes = 0
        self.move = move
        self.lost: list[str] = []
        self.elsewhere = True
        self.compared = 0
        self.liveness = Liveness(
            lambda: self.bytes,
            self.lost.append,
            silent=silent,
            move=lambda: self.move,
            compare=self._compare,
        )

    async def _compare(self) -> bool:
        self.compared += 1
        return self.elsewhere

    def tick(self, count: int, *, heard: bool = True) -> list[str]:
        """Let so many seconds pass."""
        for _ in range(count):
            self.bytes += heard
            self.liveness.tick()
        return self.lost

    async def pass_by(self, *heard: bool) -> list[str]:
        """Let seconds pass, in some of which a byte comes; a comparison ends in its second."""
        for each in heard:
            self.tick(1, heard=each)
            await asyncio.sleep(0)
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
    site.liveness.expect("one", "a publisher confirm")
    site.tick(ANSWER_SECONDS)
    site.liveness.answered("one")
    assert [] == site.tick(10)
    site.liveness.expect("two", "a publisher confirm")
    [reason] = site.tick(ANSWER_SECONDS + 1)
    assert "a publisher confirm" in reason


def test_without_another_address_an_overdue_confirm_is_waited_for() -> None:
    """The connection stays where there is no other address to go to."""
    site = Heard(move=False)
    site.liveness.expect("one", "a publisher confirm")
    assert [] == site.tick(100)


def test_a_blocked_connection_is_not_left() -> None:
    """While the broker blocks publishers, nothing becomes overdue: all its nodes block."""
    site = Heard()
    site.liveness.expect("one", "a publisher confirm")
    site.liveness.blocked = True
    assert [] == site.tick(100)
    site.liveness.blocked = False
    assert [] == site.tick(ANSWER_SECONDS)
    assert site.tick(1)


SECONDS = COMPARE_SECONDS + 2
"""After so many seconds without a byte a broker is left where another address answers."""


def test_a_silent_broker_is_left_early_only_for_one_that_answers() -> None:
    """While a confirm is expected and no byte comes, another address must answer, and there must be one."""

    async def run(*, elsewhere: bool, move: bool = True) -> list[str]:
        site = Heard(silent=12, move=move)
        site.elsewhere = elsewhere
        site.liveness.expect("one", "a publisher confirm")
        assert [] == await site.pass_by(*[False] * (SECONDS - 1))
        lost = await site.pass_by(False)
        assert 1 == site.compared
        return lost

    [reason] = asyncio.run(run(elsewhere=True))
    assert f"no byte for {SECONDS} s, and another address answers" in reason
    assert [] == asyncio.run(run(elsewhere=False))
    assert [] == asyncio.run(run(elsewhere=True, move=False))


@pytest.mark.parametrize("at", range(1, SECONDS))
def test_a_busy_broker_is_not_left_early(at: int) -> None:
    """A byte within the comparison, as of the channel that it asks for, ends it, and so does the answer."""

    async def run() -> None:
        site = Heard(silent=12)
        site.liveness.expect("one", "a publisher confirm")
        await site.pass_by(*[False] * (at - 1), True, *[False] * (SECONDS - 1))
        assert [] == site.lost
        site.liveness.answered("one")
        assert [] == await site.pass_by(*[False] * (12 - SECONDS))

    asyncio.run(run())


def test_nothing_is_compared_without_an_answer_to_come() -> None:
    """An idle connection, and one that the broker blocks, are given up after two heartbeats alone."""

    async def run() -> None:
        idle, blocked = Heard(silent=12), Heard(silent=12)
        blocked.liveness.expect("one", "a publisher confirm")
        await blocked.pass_by(True, True, True, True)
        blocked.liveness.blocked = True
        for each in (idle, blocked):
            assert [] == await each.pass_by(*[False] * 11)
            assert not each.compared

    asyncio.run(run())


def test_seconds_in_which_an_answer_is_late_are_counted() -> None:
    """An answer that comes within a second is not late; while the broker blocks publishers, each one is."""
    site = Heard()
    for _ in range(10):
        site.liveness.expect("quick", "a publisher confirm")
        site.tick(1)
        site.liveness.answered("quick")
    assert 0 == site.liveness.late
    site.liveness.expect("one", "a publisher confirm")
    site.tick(5)
    site.liveness.answered("one")
    site.tick(5)
    assert 4 == site.liveness.late
    site.liveness.blocked = True
    site.tick(5)
    assert 9 == site.liveness.late


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


@pytest.mark.parametrize("paused", [True, False])
def test_a_paused_broker_is_left_and_one_without_a_leader_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, seed: int, paused: bool
) -> None:
    """Neither confirms nor sends a heartbeat. A paused one opens no channel, and is left sooner."""
    monkeypatch.setattr(liveness, "TICK", 0.1)
    monkeypatch.setattr(amqp, "_HEARTBEAT_SECONDS", 1e6)

    async def run() -> tuple[str, int]:
        deaf: set[type] = {spec.Basic.Publish}
        async with AmqpTwin(unanswered=deaf) as one, AmqpTwin(unanswered=deaf) as two:
            found = Addresses([one.url, two.url], Tls(), moving=True, rng=Random(seed))
            connection = await found.connect()
            publisher = await _publisher(connection)
            at, other = (one, two) if one.connections else (two, one)
            at.mute = paused
            publishing = asyncio.create_task(publisher.publish("", "q", b"body", pika.BasicProperties()))
            async with asyncio.timeout(patient(10)):
                reason = await connection.closed
            await asyncio.gather(publishing, return_exceptions=True)
            await other.deserted()
            assert paused == (not at.heard.count("Channel.Close"))
            return str(reason), other.connections

    reason, compared = asyncio.run(run())
    assert 1 <= compared
    wanted = "another address answers" if paused else "a publisher confirm"
    assert wanted in reason


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
