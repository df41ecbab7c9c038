"""Tests of ``MAX_RUNNING``: backups in progress are limited, and their slots shared fairly.

Dangers: more backups at once than may be, a slot that is never free again, a project that waits for another's
thousands, and a message that expires because it waited for room.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from events.outcome import Category
from handler.backup.limits import GroupLimit
from handler.backup.running import Limit, Room, Slots
from handler.backup.selection import Selection
from handler.errors import ApiError
from tests.twins.api import CutAfter, CutBefore, Made
from tests.twins.events import PROJECT, message
from tests.twins.world import MESSAGE_SETTINGS, World, with_limits
from tests.unit.backup.handling import MADE, handle, run, waits

LIMIT = 4
QUICK = with_limits(delays=(1, 2, 4))._replace(track_deadline=86_400.0)


def limited(most: int = 1, **fields: object) -> World:
    """Return a world with so many backups in progress at most."""
    return World(selection=Selection((), (), max_running=most), **fields)  # type: ignore[arg-type] # of World


def most_at_once(world: World) -> int:
    """Return the greatest number of backups that were in progress at once."""
    starts = [made.at for made in world.api.backups]
    return max(sum(at <= start < at + world.api.settle for at in starts) for start in starts)


def slots(world: World) -> Mapping[str, int]:
    """Return the slots in the ledger, by group."""

    async def body() -> Mapping[str, int]:
        found = await world.ledger.running()
        return {group: running.slots for group, running in found.groups.items()}

    return asyncio.run(body())


def publish_projects(world: World, sizes: Mapping[str, int]) -> None:
    """Publish so many events of each project, one project after the other."""
    number = 0
    for project, size in sizes.items():
        for _ in range(size):
            world.broker.publish(message(number, project_id=project))
            number += 1


def spread(made: Sequence[Made]) -> int:
    """Return the difference between the projects with the most and with the fewest of these backups."""
    counts = Counter(each.project_id for each in made).values()
    return max(counts) - min(counts)


def test_the_limit_is_kept_and_shared_over_a_crash(tmp_path: Path) -> None:
    """With 60 snapshots of 3 projects at most 4 are in progress, fairly, and a crash loses none."""
    world = limited(LIMIT, kind="sqlite", folder=tmp_path, settings=QUICK)
    world.api.settle = 3.0
    publish_projects(world, {"p0": 20, "p1": 20, "p2": 20})

    async def body() -> None:
        await world.run_for(20.0)
        for steps in (3, 8, 13, 40):
            world.steps.crash_at = len(world.steps.names) + steps
            await world.deliver(8)
            world.steps.crash_at = None
        await world.restart()
        await world.until_quiet(8)
        await world.aclose()

    run(body)

    assert LIMIT == most_at_once(world)
    assert 60 == len(world.api.backups) == len({made.request.snapshot_id for made in world.api.backups})
    assert 60 == len({each.id for each in world.outcomes if each.type == "backup.completed"})
    assert spread(world.api.backups[LIMIT:40]) <= LIMIT
    assert {0} == {result.state.attempts for result in world.handled if result.reason == "room"}


def test_no_project_waits_for_the_thousands_of_another() -> None:
    """A project with few snapshots has its share at once, whatever another project has published before."""
    world = limited(10, settings=with_limits(delays=(5, 30, 120, 600))._replace(track_deadline=86_400.0))
    world.api.settle = 60.0
    publish_projects(world, {"many": 150, "few": 5, "some": 10})

    run(lambda: world.until_quiet(32))

    ends = {project: index for index, project in enumerate(made.project_id for made in world.api.backups)}
    assert 10 == most_at_once(world)
    assert ends["few"] < 40
    assert ends["some"] < 60


@pytest.mark.parametrize("step", range(1, 30))
def test_a_crash_at_any_step_leaks_no_slot(step: int) -> None:
    """After a crash at any step both snapshots are backed up, one at a time, and no slot is left."""
    world = limited(1)
    world.api.settle = 3.0
    world.steps.crash_at = step

    handle(world, message(1), message(2))

    assert 2 == len(world.api.backups)
    assert 1 == most_at_once(world)
    assert {} == slots(world)


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter()], ids=["nothing made", "made"])
def test_a_call_in_doubt_counts(fault: CutBefore | CutAfter) -> None:
    """While a call is in doubt its backup may be in progress, so it keeps its slot."""
    world = limited(1)
    world.api.settle = 30.0
    world.api.fail("create", fault)

    handle(world, message(1), message(2))

    assert 2 == len(world.api.backups)
    assert 1 == most_at_once(world)
    assert "room" in waits(world)


def test_a_refused_request_frees_its_slot() -> None:
    """A request that the API refuses for good ends its event, and the next one has its slot."""
    world = limited(1)
    world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))

    assert ["backup.failed", *MADE] == handle(world, message(1), message(2))
    assert {} == slots(world)


def test_a_backup_that_is_deleted_by_others_frees_its_slot() -> None:
    """Tracking finds that the backup is gone, and ends: then the next snapshot has its turn."""
    world = limited(1)
    world.api.settle = 1e9

    async def body() -> None:
        world.broker.publish(message(1))
        await world.run_for(5.0)
        world.api.backups.clear()
        world.api.settle = 0.0
        world.broker.publish(message(2))
        await world.until_quiet()

    run(body)

    assert ["backup.accepted", "backup.failed", *MADE] == list(world.published())
    assert {} == slots(world)


def test_a_backup_that_expires_frees_its_slot() -> None:
    """At ``TRACK_DEADLINE`` the event ends, and the slot is free although the backup is not finished."""
    world = limited(1, settings=MESSAGE_SETTINGS._replace(track_deadline=100.0))
    world.api.settle = 200.0

    handle(world, message(1))

    assert {} == slots(world)


def test_waiting_for_room_does_not_count_towards_max_age() -> None:
    """A snapshot that waits for room for longer than ``MAX_AGE`` is backed up, even after a failed call."""
    world = limited(1, settings=with_limits(max_age=100.0))
    world.api.settle = 1_000.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.run_for(5.0)
        world.broker.publish(message(2))
        await world.run_for(900.0)
        world.api.fail("create", ApiError(Category.UNAVAILABLE, "down", status=503))
        await world.until_quiet()

    run(body)

    assert 2 == list(world.published()).count("backup.completed")


def test_tracking_is_never_limited_and_counts() -> None:
    """A backup from before the limit was set is tracked, and has a slot from its next lookup on."""
    world = World(settings=QUICK)
    world.api.settle = 60.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.run_for(1.0)
        world.selection = Selection((), (), max_running=1)
        world.start()
        await world.run_for(10.0)
        world.broker.publish(message(2))
        await world.until_quiet()

    run(body)

    assert 1 == most_at_once(world)
    assert 2 == list(world.published()).count("backup.completed")


def test_limits_of_rules_apply_beside_the_setting() -> None:
    """A limit per project holds for each project alone, within ``MAX_RUNNING`` for all."""
    limit = GroupLimit.model_validate({"name": "each", "per": "project", "max_running": 2})
    world = World(settings=QUICK, selection=Selection((), (), limits=[limit], max_running=3))
    world.api.settle = 10.0
    publish_projects(world, {"p0": 8, "p1": 8})

    run(lambda: world.until_quiet(8))

    assert 3 == most_at_once(world)
    for project in ("p0", "p1"):
        starts = [made.at for made in world.api.backups if made.project_id == project]
        assert 2 == max(sum(at <= start < at + 10.0 for at in starts) for start in starts)


ROOM = Room((Limit("MAX_RUNNING", 2),), hold=100.0, delays=(5, 30, 120, 600, 3600))


def loaded(counts: Mapping[str, int]) -> Slots:
    """Return the slots of a group with these counts."""
    found = Slots()
    found.load("MAX_RUNNING", counts, {}, None)
    return found


def test_a_new_message_does_not_overtake_those_that_wait() -> None:
    """A free slot is kept for the message of the project that has waited."""
    group = loaded({PROJECT: 2})
    assert group.ask(ROOM, PROJECT, 1000.0)
    group.move(PROJECT, ["MAX_RUNNING"], -1)

    assert group.ask(ROOM, PROJECT, 1001.0)
    assert group.ask(ROOM._replace(returned=True), PROJECT, 1002.0) is None


def test_thousands_that_wait_ask_seldom() -> None:
    """Of 5,000 messages few ask again soon, and none waits longer than ten minutes."""
    group = loaded({PROJECT: 2})
    delays = Counter(group.ask(ROOM, PROJECT, 1000.0 + number / 1000) for number in range(5000))

    assert {5.0, 30.0, 120.0, 600.0} == set(delays)
    assert sum(count / (seconds or 1) for seconds, count in delays.items()) < 40


def test_a_slot_is_not_kept_for_a_message_that_does_not_come() -> None:
    """A project whose message was lost holds up others for some seconds only."""
    group = loaded({"b": 2})
    group.ask(ROOM, "a", 1000.0)
    group.move("b", ["MAX_RUNNING"], -1)
    back = ROOM._replace(returned=True)

    assert group.ask(back, "b", 1006.0)
    assert group.ask(back, "b", 1021.0) is None
