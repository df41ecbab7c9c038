"""Handling of an event that only proves that a snapshot was requested: the snapshot is looked up first."""

import pytest

from events.outcome import Category
from handler.backup.ports import Snapshot
from handler.errors import ApiError
from tests.twins.api import Absent, MemoryApi
from tests.twins.events import made_up_id, message
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import MADE, failure, handle, run, trace, waits


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
    ("status", "category"), [(None, "not_found"), ("error", "refused"), ("deleting", "refused")]
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
