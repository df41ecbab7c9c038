"""Handling of an event that only proves that a snapshot was requested: the snapshot is looked up first."""

from collections.abc import Mapping
from typing import Any

import pytest

from events.outcome import Category
from handler.backup.ports import Snapshot
from handler.backup.rules import Rule
from handler.backup.selection import Selection
from handler.errors import ApiError
from tests.twins.api import Absent, CutBefore, MemoryApi
from tests.twins.events import made_up_id, message
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import MADE, failure, handle, run, trace, waits

SKIPPED = ["backup.skipped"]
OWN = "autobk_snapshot_vbs_1"


def shown(world: World, status: str = "available", **fields: Any) -> Snapshot:
    """Add the first snapshot to the API, with these fields."""
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), status, **fields)
    world.api.snapshots[snapshot.id] = snapshot
    return snapshot


def with_rules(*rules: Mapping[str, object]) -> World:
    """Return a world with these rules, written as in the file."""
    return World(
        selection=Selection(("autobk_snapshot_*",), (), [Rule.model_validate(each) for each in rules])
    )


@pytest.mark.parametrize("status", ["available", "creating", "backing-up", "deleting"])
@pytest.mark.parametrize("fields", [{"name": OWN}, {"metadata": {"__system__enableActive": "true"}}])
@pytest.mark.parametrize("name", [None, "nightly"])
def test_a_trace_of_the_backup_services_own_snapshot_is_skipped(
    name: str | None, fields: dict[str, Any], status: str
) -> None:
    """The selection sees what the API shows: a backup would make one snapshot more."""
    world = World()
    shown(world, status, **fields)
    assert SKIPPED == handle(world, trace(1, name))
    assert (0, 1) == (world.api.calls["create"], world.api.calls["show_snapshot"])


def test_a_trace_is_selected_by_the_name_that_the_api_shows() -> None:
    """A rule for named snapshots matches a trace without a name, and fills the name in."""
    world = with_rules(
        {"match": {"snapshot_name": "nightly-*"}, "set": {"name": "{snapshot_name}-x", "force": True}},
        {"skip": "only nightly snapshots"},
    )
    shown(world, name="nightly-db01")
    assert MADE == handle(world, trace(1))
    [made] = world.api.backups
    assert ("nightly-db01-x", True) == (made.request.name, made.request.force)


@pytest.mark.parametrize(
    "match", [{"metadata": {"policy": "?*"}}, {"snapshot_name": "tmp-*"}, {"min_size_gb": 100}]
)
def test_a_rule_skips_a_trace_by_what_the_api_shows(match: dict[str, object]) -> None:
    """Metadata, name and size are those that the API shows, whatever the trace says."""
    world = with_rules({"match": match, "skip": "by rule"})
    shown(world, name="tmp-1", size=200, metadata={"policy": "gold"})
    assert SKIPPED == handle(world, trace(1, "nightly"))
    assert ["by rule"] == [
        outcome.data.reason for outcome in world.outcomes if hasattr(outcome.data, "reason")
    ]


def test_a_rule_by_project_skips_a_trace_without_a_call() -> None:
    """What depends on ids alone is known before the look-up, which may not even be allowed."""
    world = with_rules({"match": {"project": "*"}, "skip": "this project has backups of its own"})
    assert SKIPPED == handle(world, trace(1))
    assert 0 == world.api.calls["show_snapshot"]


def test_a_skipped_trace_that_is_delivered_again_is_skipped_again() -> None:
    """The skip is in the ledger: the outcome is the same when the snapshot is gone meanwhile."""
    world = World()
    snapshot = shown(world, name=OWN)
    handle(world, trace(1))
    del world.api.snapshots[snapshot.id]
    assert SKIPPED * 2 == handle(world, trace(1))
    assert 1 == len({(outcome.id, str(outcome.data)) for outcome in world.outcomes})


def test_a_backup_in_doubt_is_looked_up_before_its_snapshot_is_skipped() -> None:
    """A request that may have left is settled first, and no second one is sent for a skipped snapshot."""
    world = World()
    snapshot = shown(world, name="nightly")
    world.api.fail("create", CutBefore())

    async def body() -> None:
        world.broker.publish(trace(1))
        await world.deliver()
        world.api.snapshots[snapshot.id] = snapshot._replace(name=OWN)
        await world.until_quiet()

    run(body)
    assert SKIPPED == list(world.published())
    assert (1, 3) == (world.api.calls["create"], world.api.calls["find"])


def test_the_name_of_a_backup_does_not_depend_on_a_later_name_of_its_snapshot() -> None:
    """A backup is looked up by its name where the API hides the snapshot's id, so the name stays."""
    world = World()
    shown(world, name="renamed since")
    assert MADE == handle(world, trace(1, "nightly"))
    assert f"nightly-{made_up_id('snapshot', 1)}" == world.api.backups[0].request.name


def test_a_request_that_breaks_a_rule_by_the_name_that_the_api_shows_is_invalid() -> None:
    """A name that the API would refuse fails the event as the same name in the event would."""
    world = with_rules({"match": {"snapshot_name": "auto?*"}, "set": {"name": "{snapshot_name}-x"}})
    shown(world, name="autobahn")
    assert ["backup.failed"] == handle(world, trace(1))
    assert ("invalid", "bad_request") == (failure(world).category, failure(world).code)


@pytest.mark.parametrize("status", ["restoring", "updating", "unmanaging", "reverting", "rollbacking"])
def test_a_trace_waits_while_its_snapshot_is_in_work(status: str) -> None:
    """A state in the middle of work is no end: the trace waits until the snapshot is available."""
    world = World()
    snapshot = shown(world, status)

    async def body() -> None:
        world.broker.publish(trace(1))
        await world.deliver()
        world.api.snapshots[snapshot.id] = snapshot._replace(status="available")
        await world.until_quiet()
        assert ["check"] == waits(world)
        assert MADE == list(world.published())

    run(body)


def test_a_trace_waits_until_its_snapshot_is_complete() -> None:
    """A trace proves only a request, so the snapshot's status is looked up at the API."""
    world = World()
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "creating")
    world.api.snapshots[snapshot.id] = snapshot

    async def body() -> None:
        world.broker.publish(trace(1))
        await world.deliver()
        world.api.snapshots[snapshot.id] = snapshot._replace(status="available")
        await world.until_quiet()
        assert ["check"] == waits(world)
        assert MADE == list(world.published())

    run(body)


@pytest.mark.parametrize(
    ("status", "category"),
    [(None, "not_found"), ("error", "refused"), ("deleting", "refused"), ("deleted", "refused")],
)
def test_a_snapshot_that_never_completes_gets_no_backup(status: str | None, category: str) -> None:
    """A trace of a snapshot that is missing, in error or being deleted fails."""
    world = World()
    if status:
        snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), status)
        world.api.snapshots[snapshot.id] = snapshot
    assert ["backup.failed"] == handle(world, trace(1))
    assert category == failure(world).category


@pytest.mark.parametrize("times", [1, 2])
def test_a_snapshot_that_a_lookup_does_not_find_is_looked_up_again(times: int) -> None:
    """A node of the API that lags behind may not know a new snapshot yet."""
    world = World()
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "available")
    world.api.snapshots[snapshot.id] = snapshot
    world.api.fail("show_snapshot", *[Absent()] * times)
    assert MADE == handle(world, trace(1))


class _Slow(MemoryApi):
    """An API that shows the snapshot as creating four times, misses it once, and then shows the end."""

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        await super().show_snapshot(project_id, snapshot_id)
        number = self.calls["show_snapshot"]
        status = "creating" if number < 5 else "available"
        return None if number == 5 else Snapshot(snapshot_id, made_up_id("volume", 1), status)


def test_a_snapshot_that_was_found_before_is_not_gone_after_one_absence() -> None:
    """Only absences in a row count; lookups that find the snapshot incomplete are none."""
    world = World()
    world.api = _Slow(world.steady)
    world.start()
    assert MADE == handle(world, trace(1))


@pytest.mark.parametrize("times", [1, 2])
def test_a_create_that_does_not_find_the_snapshot_is_tried_again(times: int) -> None:
    """A node of the API that lags behind may answer ``create`` with 404."""
    world = World()
    world.api.fail("create", *[ApiError(Category.NOT_FOUND, "no such snapshot", status=404)] * times)
    assert MADE == handle(world, message(1))


def test_a_create_that_never_finds_the_snapshot_fails() -> None:
    """After three calls over some time the event fails as ``not_found``."""
    world = World()
    world.api.fail("create", *[ApiError(Category.NOT_FOUND, "no such snapshot", status=404)] * 9)
    assert ["backup.failed"] == handle(world, message(1))
    assert (Category.NOT_FOUND, 3) == (failure(world).category, world.api.calls["create"])


def test_a_trace_of_a_snapshot_that_hangs_expires() -> None:
    """A trace whose snapshot is still ``creating`` after MAX_AGE has expired."""
    world = World(settings=with_limits(max_age=100.0))
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "creating")
    world.api.snapshots[snapshot.id] = snapshot
    assert ["backup.failed"] == handle(world, trace(1))
    assert Category.EXPIRED == failure(world).category
