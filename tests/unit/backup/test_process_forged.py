"""Forged waiting messages: their state is not believed, and a backup that they name is checked."""

from collections.abc import Sequence

import pytest

from events.message import Message, State, wrap
from events.outcome import AcceptedBackup, BackupCompleted, Category
from events.state_keys import StateKeys
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from tests.twins.api import MemoryApi
from tests.twins.events import made_up_id, message
from tests.twins.world import KEYS, MESSAGE_SETTINGS, World
from tests.unit.backup.handling import MADE, failure, handle, run

OTHERS = made_up_id("backup", 99)
FORGED: Sequence[State] = (
    State(1.0, reason="track", backup_id=OTHERS, accepted_at=1.0),
    State(1.0, reason="track", backup_id="../../x", accepted_at=1.0),
    State(1.0, reason="lookup", doubt_since=250_000_000_000.0),
    State(1.0, crashes=1_000_000),
    State(1.0, attempts=1_000_000, waits=1_000_000),
    State(1.0, replay="forged"),
)


def wait(number: int, state: State, keys: StateKeys | None) -> Message:
    """Return a forged waiting message for the snapshot of event ``number``."""
    # wrap refuses these backup ids, so they are inserted into its body.
    body = wrap(message(number), state._replace(backup_id=None), event_id="e", keys=None)
    if state.backup_id:
        body = body.replace(b'"waitreason"', f'"backupid":"{state.backup_id}","waitreason"'.encode())
    if keys is None:
        return Message(body)
    return Message(body[:-1] + b',"statemac":"' + b"0" * 64 + b'"}')


@pytest.mark.parametrize("state", FORGED, ids=str)
@pytest.mark.parametrize("keys", [None, KEYS], ids=["unsigned", "signed by another"])
@pytest.mark.parametrize("first", [True, False], ids=["before the event", "after the event"])
def test_a_forged_wait_makes_one_backup_and_both_outcomes(
    state: State, keys: StateKeys | None, first: bool
) -> None:
    """A forged waiting message counts as one more delivery: one backup is made, accepted and completed."""
    world = World()
    forged = wait(1, state, keys)
    handle(world, *([forged, message(1)] if first else [message(1), forged]))

    assert set(MADE) == set(world.published())
    assert 1 == len(world.api.backups)
    assert [] == world.broker.dead


@pytest.mark.parametrize("state", FORGED, ids=str)
def test_a_forged_wait_without_keys_never_completes_what_was_not_made(state: State) -> None:
    """Without keys a state is believed within bounds, but a backup must be of this snapshot."""
    world = World(kind="none", keys=None)
    handle(world, message(2))
    other = world.api.backups[0].id
    state = state._replace(backup_id=other) if state.backup_id == OTHERS else state
    handle(world, wait(1, state, None), message(1))

    made = [each.id for each in world.api.backups if each.request.snapshot_id == made_up_id("snapshot", 1)]
    completed = [
        each.data.backup.id
        for each in world.outcomes
        if isinstance(each.data, BackupCompleted) and each.data.snapshot_id == made_up_id("snapshot", 1)
    ]
    assert 1 == len(made)
    assert set(made) == set(completed)
    assert [] == world.broker.dead


@pytest.mark.parametrize("hidden", [False, True], ids=["by its id", "by its name"])
def test_a_tracked_backup_of_another_snapshot_is_not_published(hidden: bool) -> None:
    """Even a signed state proves no backup: the snapshot's own backup is looked up, and then made."""
    world = World(settings=MESSAGE_SETTINGS)
    world.api.hide_snapshot_ids = hidden
    handle(world, message(2))
    state = State(world.clock(), reason="track", backup_id=world.api.backups[0].id)
    handle(world, Message(wrap(message(1), state, event_id="e", keys=KEYS)))

    assert [MADE[0], MADE[1]] * 2 == world.published()
    assert 2 == len({each.request.snapshot_id for each in world.api.backups})


class _Misleading(MemoryApi):
    """An API that answers each ``create`` with the id of its first backup."""

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        made = await super().create(project_id, request)
        return made.model_copy(update={"id": self.backups[0].id})


def test_a_recorded_backup_that_the_api_shows_as_anothers_fails() -> None:
    """After a falsified answer, ``backup.completed`` would name a backup of another snapshot."""
    world = World()
    world.api = _Misleading(world.steady)
    world.start()
    handle(world, message(2))
    world.broker.outcomes.clear()

    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert "backup_error" == failure(world).category
    assert "another snapshot's backup" in failure(world).message


@pytest.mark.parametrize(
    "error",
    [
        ApiError(Category.UNAVAILABLE, "down", status=503),
        ApiError(Category.INVALID, "the id cannot stand in a URL"),
        ApiError(Category.THROTTLED, "slow", status=429),
        ApiError(Category.DENIED, "no", status=403),
    ],
    ids=lambda error: str(error.category),
)
def test_tracking_ends_by_its_deadline_whatever_the_error(error: ApiError) -> None:
    """If every lookup fails, the event expires at TRACK_DEADLINE after fewer than 100 lookups."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_deadline=100.0))
    world.api.fail("show", *[error] * 1000)

    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert "expired" == failure(world).category
    assert world.api.calls["show"] < 100


def test_a_dropped_state_and_a_lost_ledger_make_no_second_backup() -> None:
    """A request may have left before the message waited, so the backup is looked up first."""
    world = World(kind="none", keys=None)
    world.api.settle = 50.0

    async def before() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.kind = "memory"
        world.upgrade(KEYS)
        await world.until_quiet()

    run(before)
    assert {"backup.accepted", "backup.completed"} == set(world.published())
    assert 1 == len(world.api.backups)


def test_an_upgrade_loses_no_event_and_makes_no_second_backup() -> None:
    """Unsigned waiting messages are handled as new events, and the ledger knows the backup."""
    world = World(keys=None)
    world.api.settle = 50.0

    async def before() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert ["backup.accepted"] == world.published()
        world.upgrade(KEYS)
        await world.until_quiet()

    run(before)
    assert {"backup.accepted", "backup.completed"} == set(world.published())
    assert 1 == len({each.id for each in world.outcomes if each.type == "backup.completed"})
    assert 1 == len(world.api.backups)
