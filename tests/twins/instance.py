"""``FunctionWorld``: the function in the world in memory, called with whole trigger events.

The trigger acknowledges at once, so that only the platform's repeat of a call delivers a batch again.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from functools import cache

from events.message import Message
from handler.backup.ports import Outbox
from handler.backup.process import Process
from handler.function.batch import Batch, BatchServices
from handler.function.deadline import Deadline
from handler.function.instance import messages_of
from handler.settings import Settings
from tests.twins.steps import Crash
from tests.twins.world import DELAYS, LEASE, World

BATCH = 32
CALL_SECONDS = 60.0
"""Real seconds that a call may take; no test needs them."""


class FunctionWorld(World):
    """A world whose processes are instances of the function."""

    async def call(self, messages: Sequence[Message]) -> None:
        """Call with a batch until a call ends normally, as the platform does; record each crash."""
        event = {
            "trigger_type": "RABBITMQ",
            "records": [{"messages": [message.body.decode() for message in messages], "exchange": "q"}],
        }
        while True:
            try:
                messages = messages_of(json.loads(json.dumps(event)))
                assert [] == await self._batch().run([self.receiver.receive(each) for each in messages])
            except Crash as crash:
                self.crashes.append(str(crash))
                await self.restart()
            else:
                return

    def most_in_hand(self) -> int:
        """How many messages a call has; the trigger calls whatever the circuit breaker says."""
        return BATCH

    async def deliver(self, batch: int = 1) -> None:
        """Call with a batch from the queue, which the trigger has acknowledged."""
        taken = self.broker.take(batch)
        self.broker.in_hand.clear()
        await self.call(taken)

    async def until_done(self, batch: int) -> None:
        """Call with batches from the queue until it and the wait queues are empty."""
        while self.broker.ready or self.broker.waiting:
            if not self.broker.ready:
                self.advance(max(0.0, (self.broker.next_due() or 0.0) - self.steady.now))
                self.broker.expire()
            await self.deliver(batch)

    def _batch(self) -> Batch:
        lost = asyncio.get_running_loop().create_future()
        end = time.monotonic() + CALL_SECONDS
        services = BatchServices(self.broker, self._process_for, self.breaker, _settings(), lost, self.clock)
        return Batch(services, Deadline(soft=end, hard=end))

    def _process_for(self, outbox: Outbox) -> Process:
        return Process(
            services=self.services(),
            outbox=outbox,
            selection=self.selection,
            notify=self.handled.append,
        )


@cache
def _settings() -> Settings:
    """Return the settings of each call; reading them takes 2 ms, more than a batch."""
    return Settings(_env_file=None, lease_seconds=LEASE, wait_ladder=DELAYS)
