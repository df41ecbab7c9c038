"""Tests of what a consumer session knows of the messages in hand."""

import asyncio
from typing import Any, cast

from handler.backup.breaker import CircuitBreaker
from handler.backup.received import Received
from handler.broker.acknowledgements import Acknowledgements
from handler.broker.consumer import Delivery
from handler.broker.topology import Topology
from handler.worker.session import ConsumerSession
from tests.twins.clock import Clock
from tests.twins.events import message


def test_a_session_knows_the_longest_that_a_message_was_in_hand() -> None:
    """A message that is in hand counts for as long as it has been there, and a handled one once."""

    async def body() -> None:
        clock, handled, nothing = Clock(1_000.0), asyncio.Event(), cast("Any", None)

        async def handle(_received: Received) -> None:
            await handled.wait()

        session = ConsumerSession(
            connection=nothing,
            topology=Topology("q", "in", "out", (1,)),
            handle=handle,
            park=nothing,
            restore=nothing,
            breaker=CircuitBreaker(8, clock, doubt_pause=5.0),
            keys=None,
            clock=clock,
        )
        unsent = Acknowledgements(nothing)
        session._on_delivery(Delivery(message(1), 1, redelivered=False, acknowledgements=unsent))
        clock.advance(3.0)
        assert [3.0, 3.0] == [session.take_longest(), session.take_longest()]
        clock.advance(4.0)
        handled.set()
        await session._hands_empty()
        await asyncio.sleep(0)  # the task's own callback comes after
        assert [7.0, 0.0] == [session.take_longest(), session.take_longest()]

    asyncio.run(body())
