"""Whose fault a failure is: a fault of the whole service ends no message, and a message's stops no other.

Each case runs over the worker's message handling and over the function, with broker, API and clock in memory.
The error answers are classified by the program's own tables.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from events.outcome import Category
from handler.backup.ports import Snapshot
from handler.errors import ApiError
from handler.vbs.faults import create_error, lookup_error
from tests.twins.api import Call, CutAfter, DoneThen, Fault
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.instance import FunctionWorld
from tests.twins.voices import FOREIGN, GATEWAY, foreign_body
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import trace

DELAYS = (5, 30, 120, 600, 3600)
SETTINGS = with_limits(delays=DELAYS, max_attempts=8, max_age=86_400.0, settle_time=30.0)
HOUR = 3600.0
OTHER = "0123456789abcdef0123456789abcdef"
RUNNERS: Mapping[str, type[World]] = {"worker": World, "function": FunctionWorld}

Kind = type[World]


@pytest.fixture(params=list(RUNNERS.values()), ids=list(RUNNERS))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return the way to run the program."""
    chosen: Kind = request.param
    return chosen


def own(status: int, text: str = "no") -> ApiError:
    """Return an error answer to a create, in Cinder's form."""
    names = {400: "badRequest", 401: "unauthorized", 403: "forbidden", 413: "overLimit", 429: "overLimit"}
    body = {names.get(status, "computeFault"): {"code": status, "message": text}}
    return create_error(status, httpx.Headers(), json.dumps(body).encode())


def page(status: int, name: str = "nginx", call: Call = "create") -> ApiError:
    """Return an error answer of a proxy or a gateway."""
    read = create_error if call == "create" else lookup_error
    return read(status, httpx.Headers(), foreign_body(name, status))


def many(first: int, last: int, project_id: str = PROJECT) -> Sequence[Any]:
    """Return the events of these numbers."""
    return [message(number, project_id=project_id) for number in range(first, last)]


def world_of(kind: Kind, **settings: Any) -> World:
    """Return a world with the delays that the program has by default."""
    return kind(settings=SETTINGS._replace(track_backups=False, **settings))


def run(body: Callable[[], Awaitable[None]]) -> None:
    """Run a test's body in its own event loop."""

    async def within() -> None:
        await body()

    asyncio.run(within())


def types(world: World) -> Counter[str]:
    """Count the published outcomes by type."""
    return Counter(world.published())


def most_a_minute(world: World, *calls: Call) -> int:
    """Return the most calls of these kinds in one minute, after the first minute."""
    began = world.api.log[0][0]
    minutes = Counter(int((at - began) // 60) for at, call, _ in world.api.log if call in calls)
    return max((count for minute, count in minutes.items() if minute), default=0)


# -- creates fail while lookups work


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("events", [10, 40])
def test_creates_that_fail_for_all_end_no_message(kind: Kind, status: int, events: int) -> None:
    """The API cannot make backups for an hour, in its own form: all events wait."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda call, _project, _snapshot: own(status) if call == "create" else None
        for event in many(0, events):
            world.broker.publish(event)
        await world.run_for(HOUR)
        assert ([], Counter()) == (world.broker.dead, types(world))
        assert most_a_minute(world, "create") <= 40
        assert most_a_minute(world, "find") <= 140
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert ({"backup.accepted": events}, events) == (types(world), len(world.api.backups))

    run(body)


def test_creates_that_work_without_an_answer_are_found(kind: Kind) -> None:
    """A gateway answers 502 to each create that the API has done: a lookup finds each backup."""

    async def body() -> None:
        world = world_of(kind)
        done = DoneThen(page(502))
        world.api.rule = lambda call, _project, _snapshot: done if call == "create" else None
        for event in many(0, 40):
            world.broker.publish(event)
        await world.run_for(2 * HOUR)
        assert ({"backup.accepted": 40}, 40) == (types(world), len(world.api.backups))

    run(body)


def test_a_create_that_fails_alone_runs_out_of_attempts(kind: Kind) -> None:
    """One snapshot gets a 500 each time while backups of others are made: its event ends as in doubt."""

    async def body() -> None:
        world = world_of(kind)
        bad = made_up_id("snapshot", 0)
        world.api.rule = lambda call, _p, at: own(500) if (call, at) == ("create", bad) else None
        world.broker.publish(message(0))
        for number in range(1, 200):
            world.broker.publish(message(number))
            await world.run_for(30.0)
        assert {"backup.accepted": 199, "backup.failed": 1} == types(world)
        assert ["in_doubt"] == [dead.reason["dl-category"] for dead in world.broker.dead]
        assert 8 == world.broker.dead[0].reason["dl-attempts"]

    run(body)


@pytest.mark.parametrize(
    ("code", "category"),
    [("BackupService.7000", "not_found"), ("EVS.4711", "not_found"), ("BackupService.6105", "not_found")],
)
def test_a_404_by_a_code_of_the_service_stops_nobody_else(kind: Kind, code: str, category: str) -> None:
    """Twenty snapshots that the service does not know fail in minutes, and sixty others do not wait."""
    body = json.dumps({"error_code": code, "error_msg": "no", "request_id": "r"}).encode()
    unknown = {made_up_id("snapshot", number) for number in range(20)}

    async def run_all() -> None:
        world = world_of(kind)
        error = create_error(404, httpx.Headers(), body)
        world.api.rule = lambda call, _p, at: error if call == "create" and at in unknown else None
        for event in many(0, 80):
            world.broker.publish(event)
        await world.run_for(10.0)
        assert 60 == types(world)["backup.accepted"]
        await world.run_for(600.0)
        assert {"backup.accepted": 60, "backup.failed": 20} == types(world)
        assert {category} == {dead.reason["dl-category"] for dead in world.broker.dead}

    run(run_all)


def test_max_age_ends_creates_that_never_work(kind: Kind) -> None:
    """No event waits longer than MAX_AGE and one delay, and the API is not hammered at the end."""

    async def body() -> None:
        limits = SETTINGS.limits._replace(max_age=2 * HOUR)
        world = world_of(kind, limits=limits)
        world.api.rule = lambda call, _project, _snapshot: own(500) if call == "create" else None
        for event in many(0, 40):
            world.broker.publish(event)
        await world.run_for(2 * HOUR + 600)
        assert {"backup.failed": 40} == types(world)
        assert {"in_doubt", "expired"} >= {dead.reason["dl-category"] for dead in world.broker.dead}
        assert most_a_minute(world, "create") <= 40

    run(body)


@pytest.mark.parametrize("error", [own(401), own(429), page(503)], ids=["401", "429", "maintenance page"])
def test_max_age_ends_the_messages_of_a_project_that_never_works(kind: Kind, error: ApiError) -> None:
    """The same where one project is held while others are fine."""

    async def body() -> None:
        limits = SETTINGS.limits._replace(max_age=HOUR)
        world = world_of(kind, limits=limits)
        world.api.rule = lambda _call, project, _snapshot: error if project == OTHER else None
        for event in many(0, 40, OTHER):
            world.broker.publish(event)
        for number in range(40, 115):
            world.broker.publish(message(number))
            await world.run_for(60.0)
        assert {"backup.failed": 40, "backup.accepted": 75} == types(world)
        assert {"in_doubt", "expired"} >= {dead.reason["dl-category"] for dead in world.broker.dead}
        assert most_a_minute(world, "create", "find", "check") <= 40

    run(body)


# -- one route fails


@pytest.mark.parametrize("call", ["find", "show", "show_snapshot"])
@pytest.mark.parametrize("status", [500, 503])
def test_a_route_that_fails_alone_does_not_stop_creates(kind: Kind, call: Call, status: int) -> None:
    """While only lookups of one kind fail, new events are accepted, and those calls are paced."""

    async def body() -> None:
        world = kind(settings=SETTINGS)
        world.api.fail("create", *[CutAfter()] * 4)  # these need lookups
        for number in range(900, 904):
            snapshot_id, volume_id = made_up_id("snapshot", number), made_up_id("volume", number)
            world.api.snapshots[snapshot_id] = Snapshot(snapshot_id, volume_id, "available")
            world.broker.publish(trace(number))
        failing = page(status, call=call)
        world.api.rule = lambda called, _project, _snapshot: failing if called == call else None
        accepted = 0
        for number in range(40):
            world.broker.publish(message(number))
            await world.run_for(30.0)
            accepted = types(world)["backup.accepted"]
        assert 36 <= accepted
        assert [] == world.broker.dead
        assert most_a_minute(world, call) <= 40
        world.api.rule = lambda *_: None
        await world.run_for(2 * HOUR)
        assert 44 == types(world)["backup.completed"] == len(world.api.backups)

    run(body)


# -- a proxy or a gateway answers

STATUSES = (302, 401, 405, 407, 409, 413, 418, 422, 501, 502, 503, 504, 599)
COMMON = (400, 403, 404, 429, 500)
ANSWERS = [
    # Each maker's page with one of the statuses: the unit tests of the tables have all pairs.
    *((World, name, COMMON[place % len(COMMON)]) for place, name in enumerate(FOREIGN) if name != "nginx"),
    *((kind, "nginx", status) for kind in RUNNERS.values() for status in (*COMMON, *STATUSES)),
]


def waits_out(kind: Kind, count: int, rule: Callable[[Call, str, str], Fault | None]) -> None:
    """Let events meet a rule for ten minutes: none ends, and calls are few. Then each has one backup."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = rule
        for event in many(0, count):
            world.broker.publish(event)
        await world.run_for(600.0)
        assert ([], Counter()) == (world.broker.dead, types(world))
        assert most_a_minute(world, "create", "find", "check") <= 12
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert ({"backup.accepted": count}, count) == (types(world), len(world.api.backups))

    run(body)


@pytest.mark.parametrize(("kind", "name", "status"), ANSWERS)
def test_no_message_ends_by_what_a_proxy_answers(kind: Kind, name: str, status: int) -> None:
    """Four events meet a proxy's answer on every route: all wait, then each has one backup."""
    waits_out(kind, 4, lambda call, _project, _snapshot: page(status, name, call))


@pytest.mark.parametrize(("status", "document"), GATEWAY)
def test_no_message_ends_by_what_the_gateway_refuses(
    kind: Kind, status: int, document: Mapping[str, str]
) -> None:
    """Huawei's gateway refuses an account, an address or a path: all events wait."""
    raw = json.dumps(document).encode()

    def rule(call: Call, _project: str, _snapshot: str) -> Fault:
        return (create_error if call == "create" else lookup_error)(status, httpx.Headers(), raw)

    waits_out(kind, 8, rule)


# -- one project fails, or all


@pytest.mark.parametrize(
    "error",
    [own(401), own(429), page(503), page(503, "captive portal"), page(404), page(401, "Kong")],
    ids=["401", "429", "maintenance page", "captive portal", "path not found", "gateway's 401"],
)
def test_a_project_that_fails_alone_does_not_stop_the_others(kind: Kind, error: ApiError) -> None:
    """Sixty events of one project fail before those of others come: these are accepted in two minutes."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda _call, project, _snapshot: error if project == OTHER else None
        for event in [*many(0, 60, OTHER), *many(60, 80)]:
            world.broker.publish(event)
        await world.run_for(120.0)
        assert {"backup.accepted": 20} == types(world)
        await world.run_for(1200.0)
        assert {"backup.accepted": 20} == types(world)
        assert [] == world.broker.dead
        assert most_a_minute(world, "create", "find", "check") <= 40
        world.api.rule = lambda *_: None
        await world.run_for(600.0)
        assert ({"backup.accepted": 80}, 80) == (types(world), len(world.api.backups))

    run(body)


def test_the_first_events_of_strangers_do_not_stop_our_own(kind: Kind) -> None:
    """The first three events after a start are of projects without a role for us: ours is accepted."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda _call, project, _snapshot: own(401) if project != PROJECT else None
        for number in range(3):
            world.broker.publish(message(number, project_id=f"{number:032x}"))
        world.broker.publish(message(3))
        await world.run_for(10.0)
        assert {"backup.accepted": 1} == types(world)

    run(body)


@pytest.mark.parametrize(("status", "category"), [(403, "denied"), (413, "quota")])
def test_a_project_that_is_refused_for_good_ends_alone(kind: Kind, status: int, category: str) -> None:
    """A project without rights or over its quota fails at once; the others' events are accepted."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda call, project, _s: (
            own(status) if (call, project) == ("create", OTHER) else None
        )
        for event in [*many(0, 20, OTHER), *many(20, 40)]:
            world.broker.publish(event)
        await world.run_for(60.0)
        assert {"backup.accepted": 20, "backup.failed": 20} == types(world)
        assert {category} == {dead.reason["dl-category"] for dead in world.broker.dead}

    run(body)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("project_id", [PROJECT, OTHER], ids=["our own project", "another project"])
def test_an_account_that_is_refused_everywhere_ends_no_message(
    kind: Kind, status: int, project_id: str
) -> None:
    """Our own project is refused too, so that the account has lost its rights: all wait until it has them."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda *_: own(status)
        for event in many(0, 20, project_id):
            world.broker.publish(event)
        await world.run_for(HOUR)
        assert ([], Counter()) == (world.broker.dead, types(world))
        assert most_a_minute(world, "create", "find", "check") <= 12
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert {"backup.accepted": 20} == types(world)

    run(body)


@pytest.mark.parametrize(("status", "expected"), [(403, {"backup.failed": 10}), (401, {})])
def test_without_an_own_project_a_403_ends_its_message(
    kind: Kind, status: int, expected: Mapping[str, int]
) -> None:
    """No project is known that the account could be judged by: a 403 is its project's, a 401 everybody's."""

    async def body() -> None:
        world = world_of(kind, home=None)
        world.api.rule = lambda *_: own(status)
        for event in many(0, 10):
            world.broker.publish(event)
        await world.run_for(600.0)
        assert expected == types(world)
        assert most_a_minute(world, "create", "find", "check") <= 12

    run(body)


def test_a_gateway_that_throttles_all_is_not_asked_by_each_project(kind: Kind) -> None:
    """Fifty projects are throttled by the gateway: its calls are paced as if they were one."""

    async def body() -> None:
        world = world_of(kind)
        error = ApiError(Category.THROTTLED, "throttled", status=429, from_api=False, retry_after=6.0)
        world.api.rule = lambda *_: error
        for number in range(100):
            world.broker.publish(message(number, project_id=f"{number % 50:032x}"))
        await world.run_for(HOUR)
        assert most_a_minute(world, "create", "find") <= 12
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert {"backup.accepted": 100} == types(world)

    run(body)


def test_many_throttled_projects_are_not_asked_one_by_one(kind: Kind) -> None:
    """The API throttles all of fifty projects in its own form: few calls a minute."""

    async def body() -> None:
        world = world_of(kind)
        world.api.rule = lambda *_: own(429)
        for number in range(100):
            world.broker.publish(message(number, project_id=f"{number % 50:032x}"))
        await world.run_for(HOUR)
        assert most_a_minute(world, "create", "find") <= 40
        world.api.rule = lambda *_: None
        await world.run_for(HOUR)
        assert {"backup.accepted": 100} == types(world)

    run(body)
