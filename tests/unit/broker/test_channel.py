"""Unit tests of a channel's calls: a call can be cancelled even when its answer has arrived."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from handler.broker.connection import Channel
from handler.broker.liveness import Liveness


def no_loss(reason: str) -> None:
    """Fail: the connection is not lost in this test."""
    raise AssertionError(reason)


async def no_comparison() -> bool:
    """Fail: no other address is tried in this test."""
    raise AssertionError


def test_a_call_that_is_answered_and_cancelled_at_once_is_cancelled() -> None:
    """A call raises CancelledError even when its answer has arrived; otherwise a worker would not stop."""

    async def run() -> None:
        liveness = Liveness(lambda: 0, no_loss, silent=0, move=bool, compare=no_comparison)
        raw = SimpleNamespace(add_on_close_callback=lambda _: None)
        channel = Channel(raw, liveness, cast("Any", None))
        answers: list[Callable[[Any], None]] = []
        call = asyncio.create_task(channel.call(lambda *, callback: answers.append(callback)))
        await asyncio.sleep(0)
        answers[0]("the broker's answer")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(run())
