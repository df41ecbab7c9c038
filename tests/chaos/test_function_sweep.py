"""T1 for the function: it is killed at the k-th step, for each k, and called again with the same batch."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from events.message import Message
from tests.chaos.verdicts import judge
from tests.twins.api import CutAfter, Fault
from tests.twins.events import made_up_id, message
from tests.twins.instance import FunctionWorld
from tests.twins.steps import Steps
from tests.twins.world import LedgerKind

EVENTS = 2
MOST_STEPS = 400
Packed = Callable[[Sequence[Message]], Sequence[Message]]


async def run(
    kind: LedgerKind, folder: Path, k: int, faults: Sequence[Fault], messages: Sequence[Message]
) -> FunctionWorld:
    """Call with the messages, crash at step ``k``, and call again until the end."""
    world = FunctionWorld(kind=kind, folder=folder, steps=Steps(crash_at=k))
    world.api.fail("create", *faults)
    try:
        await world.call(messages)
        await world.until_done(EVENTS)
    finally:
        await world.aclose()
    return world


def as_batch(messages: Sequence[Message]) -> Sequence[Message]:
    """Return one message that is a batch of CloudEvents."""
    return [Message(b"[" + b",".join(each.body for each in messages) + b"]")]


@pytest.mark.parametrize("packed", [list, as_batch], ids=["messages", "a batch of CloudEvents"])
@pytest.mark.parametrize("faults", [[], [CutAfter()]], ids=["well", "in-doubt"])
@pytest.mark.parametrize("kind", ["sqlite", "none"])
def test_a_function_killed_at_any_step_and_called_again_makes_one_backup_and_one_outcome(
    kind: LedgerKind, faults: list[Fault], packed: Packed, tmp_path: Path
) -> None:
    """The platform repeats a killed call, which leads to one backup and one outcome of each event."""
    for k in range(1, MOST_STEPS):
        folder = tmp_path / str(k)
        folder.mkdir()
        messages = packed([message(number) for number in range(EVENTS)])
        world = asyncio.run(run(kind, folder, k, faults, messages))
        asked = [made_up_id("snapshot", number) for number in range(EVENTS)]
        told = [json.loads(outcome.body) for outcome in world.outcomes]
        made = [backup.request.snapshot_id for backup in world.api.backups]
        assert {} == judge(asked, told, made, tracked=True).bad, f"crash at step {k}: {world.crashes}"
        assert [] == world.broker.dead
        if not world.crashes:
            assert k > 10 * EVENTS, "a run has more steps than that"
            return
    raise AssertionError(f"no run of fewer than {MOST_STEPS} steps")
