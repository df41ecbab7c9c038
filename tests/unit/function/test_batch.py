"""A batch of the function's messages, of which one cannot be handled at all."""

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
from tests.twins.world import DELAYS, KEYS, LEASE, MESSAGE_SETTINGS, World


class _NoDeadLetters(MemoryBroker):
    """A broker whose client has a bug in the last resort."""

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        raise RuntimeError("a bug")


def test_a_message_that_cannot_be_handled_leaves_the_others_to_their_end() -> None:
    """Nine of ten are accepted; the one is returned, so that the call fails and the platform repeats it."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_backups=False))
    world.broker = _NoDeadLetters(world.steady, MESSAGE_SETTINGS.limits.delays)
    world.start()
    bad = Message(b"{")

    async def body() -> None:
        settings = Settings(_env_file=None, lease_seconds=LEASE, wait_ladder=DELAYS)
        lost = asyncio.get_running_loop().create_future()
        end = time.monotonic() + 60.0
        services = BatchServices(
            world.broker, lambda _outbox: world.process, world.breaker, settings, lost, KEYS, world.clock
        )
        batch = Batch(services, Deadline(soft=end, hard=end))
        messages = [bad, *(message(number) for number in range(9))]
        left = await batch.run([world.receiver.receive(each) for each in messages])
        assert [bad] == [received.original for received in left]
        assert 9 == batch.kinds["accepted"]

    asyncio.run(body())
