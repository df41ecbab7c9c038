"""Tests of what a consumer session knows of the messages in hand."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

from handler.backup.breaker import CircuitBreaker
from handler.backup.received import Received
from handler.broker.acknowledgements import Acknowledgements
from handler.broker.consumer import Delivery
from handler.broker.topology import Topology
from handler.worker.session import ConsumerSession
from tests.twins.clock import Clock
from tests.twins.events import message


class _Hand:
    """A session without a broker, whose messages stay in hand until they are let go."""

    def __init__(self) -> None:
        self.clock = Clock(1_000.0)
        self.liveness = SimpleNamespace(late=0)
        self._let_go = asyncio.Event()
        nothing = cast("Any", None)
        self._acknowledgements = Acknowledgements(nothing)
        self.session = ConsumerSession(
            connection=cast("Any", SimpleNamespace(liveness=self.liveness)),
            topology=Topology("q", "in", "out", (1,)),
            handle=self._handle,
            park=nothing,
            restore=nothing,
            breaker=CircuitBreaker(8, self.clock, doubt_pause=5.0),
            keys=None,
            clock=self.clock,
        )

    def take(self, number: int) -> None:
        """Have a message delivered."""
        unsent = self._acknowledgements
        self.session._on_delivery(
            Delivery(message(number), number, redelivered=False, acknowledgements=unsent)
        )

    async def let_go(self) -> None:
        """Let the messages in hand come to their end."""
        self._let_go.set()
        await self.session._hands_empty()
        await asyncio.sleep(0)  # the task's own callback comes after

    async def _handle(self, _received: Received) -> None:
        await self._let_go.wait()


def _run(body: Callable[[_Hand], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        await body(_Hand())

    asyncio.run(run())


def test_a_session_knows_the_longest_that_a_message_was_in_hand() -> None:
    """A message that is in hand counts for as long as it has been there, and a handled one once."""

    async def body(hand: _Hand) -> None:
        hand.take(1)
        hand.clock.advance(3.0)
        assert [3.0, 3.0] == [hand.session.take_longest(), hand.session.take_longest()]
        hand.clock.advance(4.0)
        await hand.let_go()
        assert [7.0, 0.0] == [hand.session.take_longest(), hand.session.take_longest()]

    _run(body)


def test_a_message_in_hand_while_the_broker_answers_late_does_not_count() -> None:
    """What waits for a broker without a leader says nothing about the API; what comes later does."""

    async def body(hand: _Hand) -> None:
        hand.take(1)
        hand.clock.advance(8.0)
        hand.liveness.late += 6
        assert 0.0 == hand.session.take_longest()
        hand.take(2)
        hand.clock.advance(2.0)
        assert 2.0 == hand.session.take_longest()
        assert 10.0 == hand.session.oldest, "the metric says how long it is"
        await hand.let_go()
        assert [2.0, 0.0] == [hand.session.take_longest(), hand.session.take_longest()]

    _run(body)
