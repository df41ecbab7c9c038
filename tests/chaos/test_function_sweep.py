"""T1 over the function: killed at the k-th step, for every k, and called again with the same batch."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from events.message import Message
from handler.function_batch import Batch, Means
from handler.function_settings import Deadline
from handler.ports import Outbox
from handler.process import Process
from handler.settings import Settings
from handler.tools import Tools
from tests.chaos.verdicts import judge
from tests.twins.api import CutAfter, Fault
from tests.twins.events import made_up_id, message
from tests.twins.steps import Crash, SteppedApi, SteppedLedger, Steps
from tests.twins.world import LedgerKind, World

EVENTS = 2
MOST_STEPS = 400
PLENTY = 60.0


class FunctionWorld(World):
    """A world whose processes are instances of the function."""

    async def call(self, messages: Sequence[Message]) -> int:
        """Call the function until a call comes to its end, as the platform does; return how many it took."""
        calls = 0
        while True:
            calls += 1
            try:
                assert [] == await self._batch().run(messages)
            except Crash as crash:
                self.crashes.append(str(crash))
                await self.restart()
            else:
                return calls

    def _batch(self) -> Batch:
        settings = Settings(lease_seconds=20.0)
        lost = asyncio.get_running_loop().create_future()
        now = time.monotonic()
        deadline = Deadline(soft=now + PLENTY, hard=now + PLENTY)
        return Batch(Means(self.broker, self._process_for, self.intake, settings, lost, self.clock), deadline)

    def _process_for(self, outbox: Outbox) -> Process:
        stepped = SteppedLedger(self.ledger, self.steps)
        tools = Tools(SteppedApi(self.api, self.steps), stepped, self.intake, self.terms, self.clock)
        return Process(tools=tools, outbox=outbox, chooser=self.chooser, notify=self.handled.append)

    async def until_done(self) -> None:
        """Call with whatever comes back from the wait queues, until nothing does."""
        while self.broker.ready or self.broker.waiting:
            self.advance(max(0.0, (self.broker.next_due() or 0.0) - self.steady.now))
            self.broker.expire()
            batch = self.broker.take(EVENTS)
            self.broker.in_hand.clear()  # the trigger acknowledges at once
            await self.call(batch)


async def run(kind: LedgerKind, folder: Path, k: int, faults: Sequence[Fault]) -> FunctionWorld:
    """Call with a batch, crash at step ``k``, and go on to the end."""
    world = FunctionWorld(kind=kind, folder=folder, steps=Steps(crash_at=k))
    world.api.fail("create", *faults)
    try:
        await world.call([message(number) for number in range(EVENTS)])
        await world.until_done()
    finally:
        await world.aclose()
    return world


@pytest.mark.parametrize("faults", [[], [CutAfter()]], ids=["well", "in-doubt"])
@pytest.mark.parametrize("kind", ["sqlite", "none"])
def test_killed_at_any_step_and_called_again_it_makes_one_backup_and_tells_one_outcome(
    kind: LedgerKind, faults: list[Fault], tmp_path: Path
) -> None:
    """The trigger has acknowledged long ago: only the platform's repeat of the call brings the batch back."""
    for k in range(1, MOST_STEPS):
        folder = tmp_path / str(k)
        folder.mkdir()
        world = asyncio.run(run(kind, folder, k, faults))
        asked = [made_up_id("snapshot", number) for number in range(EVENTS)]
        told = [json.loads(outcome.body) for outcome in world.outcomes]
        made = [backup.request.snapshot_id for backup in world.api.backups]
        assert {} == judge(asked, told, made, tracked=True).bad, f"crash at step {k}: {world.crashes}"
        assert [] == world.broker.dead
        if not world.crashes:
            assert k > 10 * EVENTS, "a run has more steps than that"
            return
    raise AssertionError(f"no run of fewer than {MOST_STEPS} steps")
