"""T1: a crash at the k-th step, for each k, until a run has fewer steps and no crash.

A step is each write to the ledger, each call of the API, each publish and each acknowledgement, before and
after it takes effect. After the crash, a new process continues with the data of the ledger and the broker.
"""

import asyncio
import json
import random
from pathlib import Path

import pytest

from events.message import Message
from events.outcome import Category
from handler.backup.ports import Snapshot
from handler.errors import ApiError
from tests.chaos.verdicts import judge
from tests.twins.api import CutAfter, CutBefore, Fault, MemoryApi
from tests.twins.events import made_up_id, message
from tests.twins.steps import Steps
from tests.twins.world import LedgerKind, World
from tests.unit.backup.handling import trace

EVENTS = 3
MOST_STEPS = 400
UNAVAILABLE = ApiError(Category.UNAVAILABLE, "down", status=503)
REFUSED = ApiError(Category.REFUSED, "no", status=400)


def _with_trouble(world: World, rng: random.Random) -> None:
    """Set faults of some calls, chosen by a seed."""
    # Without a ledger, no refusal is stored, so that an API that accepts the second create is called twice.
    choices: list[Fault] = [
        CutAfter(),
        CutBefore(),
        UNAVAILABLE,
        *([] if world.kind == "none" else [REFUSED]),
    ]
    world.api.fail("create", *rng.sample(choices, k=rng.randint(0, 2)))
    if rng.random() < 0.3:
        world.api.end_in_error("the driver said no")


async def _run(kind: LedgerKind, folder: Path, k: int, chance: str, *, as_function: bool) -> World:
    world = World(kind=kind, folder=folder, steps=Steps(crash_at=k))
    _with_trouble(world, random.Random(chance))
    try:
        for number in range(EVENTS):
            world.broker.publish(message(number))
        await world.until_quiet(EVENTS if as_function else 1, as_function=as_function)
    finally:
        await world.aclose()
    return world


def _check(world: World, where: str) -> None:
    """Check the four invariants of a finished run."""
    told = [json.loads(outcome.body) for outcome in world.outcomes]
    asked = [made_up_id("snapshot", number) for number in range(EVENTS)]
    backups = [made.request.snapshot_id for made in world.api.backups]
    tally = judge(asked, told, backups, tracked=True)
    assert {} == tally.bad, where
    assert [] == [*world.broker.ready, *world.broker.waiting, *world.broker.in_hand], where
    failed = {each["correlationid"] for each in told if each["type"] == "backup.failed"}
    assert failed == {letter.reason["dl-event-id"] for letter in world.broker.dead}, where


@pytest.mark.parametrize("as_function", [False, True], ids=["worker", "function"])
@pytest.mark.parametrize("kind", ["sqlite", "memory", "none"])
@pytest.mark.parametrize("number", range(2))
def test_a_crash_at_any_step_costs_nothing(
    kind: LedgerKind, as_function: bool, number: int, seed: int, tmp_path: Path
) -> None:
    """A crash at any step changes nothing in the end: one backup, one outcome, no message left."""
    chance = f"{seed} {number}"
    for k in range(1, MOST_STEPS):
        folder = tmp_path / str(k)
        folder.mkdir()
        world = asyncio.run(_run(kind, folder, k, chance, as_function=as_function))
        _check(world, f"chance {chance!r}, crash at step {k}: {world.crashes}")
        if not world.crashes:
            assert k > 10 * EVENTS, "a run has more steps than that"
            return
    raise AssertionError(f"no run of fewer than {MOST_STEPS} steps")


class _Vanishing(MemoryApi):
    """An API whose own snapshot is gone after it was shown once, as that of a backup is."""

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Show the snapshot once."""
        await super().show_snapshot(project_id, snapshot_id)
        name = "autobk_snapshot_vbs_1"
        own = Snapshot(snapshot_id, made_up_id("volume", 1), "available", name=name)
        return own if self.calls["show_snapshot"] == 1 else None


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_crash_at_any_step_leaves_a_skipped_trace_its_one_outcome(kind: LedgerKind, tmp_path: Path) -> None:
    """A trace of a backup's own snapshot ends in one outcome, though the snapshot is gone later."""
    for k in range(1, MOST_STEPS):
        world = World(kind=kind, folder=tmp_path, steps=Steps(crash_at=k))
        world.api = _Vanishing(world.steady)
        world.start()
        asyncio.run(_handle(world, trace(k)))
        assert 1 == len({outcome.id for outcome in world.outcomes}), f"crash at step {k}: {world.crashes}"
        assert [] == world.api.backups
        if not world.crashes:
            assert k > 5, "a run has more steps than that"
            return


async def _handle(world: World, event: Message) -> None:
    try:
        await world.run(event)
    finally:
        await world.aclose()
