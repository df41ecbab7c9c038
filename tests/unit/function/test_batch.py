"""Tests of the function's batch of messages when one message cannot be handled at all."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from events.message import Message
from handler.function.batch import Batch, BatchServices
from handler.function.deadline import Deadline
from handler.settings import Settings
from tests.twins.broker import MemoryBroker
from tests.twins.events import message
from tests.twins.world import DELAYS, LEASE, MESSAGE_SETTINGS, World


class _NoDeadLetters(MemoryBroker):
    """A broker whose client fails to dead-letter because of a bug."""

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        raise RuntimeError("a bug")


def test_a_message_that_cannot_be_handled_does_not_stop_the_others() -> None:
    """The batch accepts nine of ten messages and returns the bad one; the platform then repeats the call."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_backups=False))
    world.broker = _NoDeadLetters(world.steady, MESSAGE_SETTINGS.limits.delays)
    world.start()
    bad = Message(b"{")

    async def body() -> None:
        settings = Settings(_env_file=None, lease_seconds=LEASE, wait_ladder=DELAYS)
        lost = asyncio.get_running_loop().create_future()
        end = time.monotonic() + 60.0
        services = BatchServices(
            world.broker, lambda _outbox: world.process, world.breaker, settings, lost, world.clock
        )
        batch = Batch(services, Deadline(soft=end, hard=end))
        messages = [bad, *(message(number) for number in range(9))]
        left = await batch.run([world.receiver.receive(each) for each in messages])
        assert [bad] == [received.original for received in left]
        assert 9 == batch.kinds["accepted"]

    asyncio.run(body())
