"""A route that fails alone: only messages that need it wait, whatever is at the head of the queue.

Each case runs over the worker's message handling and over the function, with broker, API and clock in memory.
"""

from collections import Counter
from collections.abc import Mapping

import pytest

from events.outcome import Category
from handler.backup.ports import Snapshot
from handler.errors import ApiError
from tests.twins.api import Call, Fault
from tests.twins.events import made_up_id, message
from tests.twins.instance import FunctionWorld
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import run, trace

HOUR = 3600.0
SETTINGS = with_limits(delays=(5, 30, 120, 600, 3600), max_attempts=8, max_age=86_400.0, settle_time=30.0)
RUNNERS: Mapping[str, type[World]] = {"worker": World, "function": FunctionWorld}
NO_ROUTE = ApiError(Category.UNAVAILABLE, "no such API", status=404, code="APIGW.0101", from_api=False)
DOWN = ApiError(Category.UNAVAILABLE, "maintenance", status=503)
LIMITED = ApiError(Category.THROTTLED, "slow down", status=429, code="APIGW.0308", from_api=False)
UNSIGNED = ApiError(Category.DENIED, "no token of ours", status=401)


@pytest.fixture(params=list(RUNNERS.values()), ids=list(RUNNERS))
def world(request: pytest.FixtureRequest) -> World:
    """Return the way to run the program."""
    made: World = request.param(settings=SETTINGS)
    return made


def types(world: World) -> Counter[str]:
    """Count the published outcomes by type."""
    return Counter(each.type for each in {each.id: each for each in world.outcomes}.values())


def calls(world: World, *kinds: Call) -> int:
    """Count the calls of these kinds."""
    return sum(world.api.calls[kind] for kind in kinds)


@pytest.mark.parametrize("error", [NO_ROUTE, DOWN, LIMITED, UNSIGNED], ids=["404", "503", "429", "401"])
def test_traces_whose_snapshots_cannot_be_shown_hold_no_other_event(world: World, error: ApiError) -> None:
    """Twenty traces are ahead of sixty ordinary events at a host that shows no snapshots."""

    async def body() -> None:
        world.api.rule = lambda call, _project, _snapshot: error if call == "show_snapshot" else None
        for number in range(900, 920):
            snapshot_id, volume_id = made_up_id("snapshot", number), made_up_id("volume", number)
            world.api.snapshots[snapshot_id] = Snapshot(snapshot_id, volume_id, "available")
            world.broker.publish(trace(number))
        for number in range(60):
            world.broker.publish(message(number))
        await world.run_for(30.0)
        assert 60 == types(world)["backup.accepted"]
        await world.run_for(2 * HOUR)
        assert [] == world.broker.dead
        assert 2 * 60 + 30 >= calls(world, "show_snapshot")
        assert {"snapshot": error.category.value} == world.breaker.held_routes
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert 80 == types(world)["backup.completed"] == len(world.api.backups)

    run(body)


@pytest.mark.parametrize("error", [NO_ROUTE, DOWN], ids=["404", "503"])
def test_creates_that_fail_do_not_stop_the_tracking_of_backups(world: World, error: ApiError) -> None:
    """A hundred events that need the broken call are ahead of the messages that follow twenty backups."""

    async def body() -> None:
        world.api.settle = 20.0
        for number in range(20):
            world.broker.publish(message(number))
        await world.run_for(1.0)
        world.api.rule = lambda call, _project, _snapshot: error if call == "create" else None
        for number in range(20, 120):
            world.broker.publish(message(number))
        await world.run_for(100.0)
        assert {"backup.accepted": 20, "backup.completed": 20} == types(world)
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert (120, []) == (types(world)["backup.completed"], world.broker.dead)

    run(body)


def test_lookups_that_fail_do_not_stop_creates(world: World) -> None:
    """Tracked backups cannot be shown, and lists fail: events are accepted all the same."""

    async def body() -> None:
        failing: tuple[Call, ...] = ("show", "find", "check")
        world.api.rule = lambda call, _project, _snapshot: DOWN if call in failing else None
        for number in range(60):
            world.broker.publish(message(number))
            await world.run_for(10.0)
        assert 60 == types(world)["backup.accepted"]

    run(body)


def test_an_api_that_is_down_is_probed_and_asked_once_more_each_time(world: World) -> None:
    """Where every route fails, the circuit breaker opens: no hold of a route hides the outage."""

    async def body() -> None:
        fault: Fault = DOWN
        world.api.rule = lambda *_: fault
        for number in range(60):
            world.broker.publish(message(number))
        await world.run_for(600.0)
        assert world.breaker.state == "open"
        assert {} == world.breaker.held_routes
        in_hand, probes = 32, 15
        assert in_hand + 2 * probes >= calls(world, "create", "check", "show", "find")
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert 60 == types(world)["backup.completed"]

    run(body)
