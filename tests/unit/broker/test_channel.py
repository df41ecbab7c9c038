"""A channel's calls: what they raise, and that they can always be cancelled."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from handler.broker.connection import Channel


def test_a_call_that_is_answered_and_cancelled_at_once_is_cancelled() -> None:
    """Otherwise a worker that is stopped in that instant would go on for ever (2 of 33 did)."""

    async def run() -> None:
        channel = Channel(SimpleNamespace(add_on_close_callback=lambda _: None))
        answers: list[Callable[[Any], None]] = []
        call = asyncio.create_task(channel.call(lambda *, callback: answers.append(callback)))
        await asyncio.sleep(0)
        answers[0]("the broker's answer")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(run())
