"""The story where an answer is lost, a backup ends, or an outcome cannot be told, over twins in memory."""

from pathlib import Path

import pytest

from events.message import Message
from events.outcome import BackupAccepted, Category
from handler.backup.request import BackupRequest
from handler.errors import ApiError, ConnectionLost
from tests.twins.api import Absent, CutAfter, CutBefore, DoneThen, LateCommit
from tests.twins.broker import copies
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.world import MESSAGE_SETTINGS, LedgerKind, World, with_limits
from tests.unit.backup.handling import MADE, UNAVAILABLE, failure, handle, replayed, run, waits

# -- in doubt


def test_a_lost_answer_is_found_and_not_sent_again() -> None:
    """The backup is told as found."""
    world = World()
    world.api.fail("create", CutAfter())
    handle(world, message(1))
    accepted = world.outcomes[0].data
    assert isinstance(accepted, BackupAccepted)
    assert accepted.found
    assert 1 == world.api.calls["create"]


def test_a_lost_answer_is_found_by_name_where_ids_are_hidden() -> None:
    """Some releases leave the snapshot id out."""
    world = World()
    world.api.hide_snapshot_ids = True
    world.api.fail("create", CutAfter())
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_what_never_arrived_is_sent_again_after_three_looks() -> None:
    """Not before, and with growing waits."""
    world = World()
    world.api.fail("create", CutBefore())
    assert MADE == handle(world, message(1))
    assert (2, 3) == (world.api.calls["create"], world.api.calls["find"])


def test_a_look_that_fails_is_no_absence() -> None:
    """However often: only three that succeed count."""
    world = World()
    world.api.fail("create", CutAfter())
    world.api.fail("find", *[UNAVAILABLE] * 5)
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_late_commit_is_found() -> None:
    """The server works on after we have gone."""
    world = World()
    world.api.fail("create", LateCommit(MESSAGE_SETTINGS.limits.settle_time))
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_doubt_outlives_a_ledger_that_forgets() -> None:
    """LEDGER_URL=none and another process: the message itself tells how often it was looked for."""
    world = World(kind="none")
    world.api.fail("create", LateCommit(MESSAGE_SETTINGS.limits.settle_time))

    async def story() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        await world.restart()
        await world.until_quiet()

    run(story)
    assert MADE == world.published()
    assert 1 == len(world.api.backups)


def test_a_doubt_that_never_ends_is_told_as_one() -> None:
    """Looks that fail until MAX_AGE: a backup may exist, and somebody must know."""
    world = World(settings=with_limits(max_age=200.0))
    world.api.fail("create", CutAfter())
    world.api.fail("find", *[UNAVAILABLE] * 200)
    assert ["backup.failed"] == handle(world, message(1))
    assert Category.IN_DOUBT == failure(world).category


def test_of_two_backups_the_oldest_sound_one_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else made another: it is logged loudly."""
    world = World()

    async def body() -> None:
        request = BackupRequest(
            volume_id=made_up_id("volume", 1), snapshot_id=made_up_id("snapshot", 1), name="by-hand"
        )
        world.api.end_in_error("broken")
        for _ in range(3):
            await world.api.create(PROJECT, request)
            world.advance(1)
        world.api.fail("create", CutBefore())
        await world.run(message(1))

    run(body)
    accepted = world.outcomes[0].data
    assert isinstance(accepted, BackupAccepted)
    assert world.api.backups[1].id == accepted.backup.id
    assert "backup.second" in [getattr(record, "action", None) for record in caplog.records]


def test_without_a_ledger_the_api_is_asked_before_the_first_try() -> None:
    """LEDGER_URL=none: what another process made is found."""
    world = World(kind="none")

    async def body() -> None:
        await world.run(message(1))
        await world.restart()
        await world.run(message(1))

    run(body)
    assert 1 == len(world.api.backups)


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("kind", ["sqlite", "memory", "none"])
def test_an_answer_that_only_sounds_like_no_makes_no_second_backup(
    category: Category, kind: LedgerKind, tmp_path: Path
) -> None:
    """The API did the work and a proxy answered; retries and replays look the backup up first."""
    world = World(kind=kind, folder=tmp_path)
    world.api.fail("create", DoneThen(ApiError(category, "no", status=400)))

    async def body() -> None:
        await world.run(message(1))
        for number, dead in enumerate(list(world.broker.dead)):
            await world.run(replayed(dead.message, world, f"replay-{number}"))
        await world.aclose()

    run(body)
    assert 1 == len(world.api.backups)
    assert "backup.completed" == world.published()[-1]


def test_a_request_that_never_left_needs_no_lookup() -> None:
    """Only then is a second request safe at once."""
    world = World()
    world.api.fail("create", ApiError(Category.UNAVAILABLE, "no route to host", sent=False))
    assert MADE == handle(world, message(1))
    assert (2, 0) == (world.api.calls["create"], world.api.calls["find"])


# -- the end of a backup


def test_a_backup_that_ends_in_error_is_a_failure() -> None:
    """Told with the API's reason, and buried."""
    world = World()
    world.api.end_in_error("the driver said no")
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert (Category.BACKUP_ERROR, "the driver said no") == (failure(world).category, failure(world).message)


def test_a_replay_after_an_error_makes_a_second_backup_once() -> None:
    """However often the replayed letter is delivered."""
    world = World()
    world.api.end_in_error("the driver said no")

    async def body() -> None:
        await world.run(message(1))
        letter = replayed(world.broker.dead[0].message, world, "replay-1")
        await world.run(*copies(letter, 3))

    run(body)
    assert 2 == len(world.api.backups)
    assert "backup.completed" == world.published()[-1]


def test_a_replay_after_success_makes_none() -> None:
    """The backup is there."""
    world = World()

    async def body() -> None:
        await world.run(message(1))
        await world.run(replayed(message(1), world, "replay-1"))

    run(body)
    assert 1 == len(world.api.backups)


@pytest.mark.parametrize("times", [1, 2])
def test_a_backup_that_a_lookup_does_not_find_is_watched_on(times: int) -> None:
    """A node of the API that lags behind may answer right after the 202."""
    world = World()
    world.api.fail("show", *[Absent()] * times)
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_lookups_that_fail_in_between_are_no_absences() -> None:
    """Only those that find nothing count, and one that finds the backup begins anew."""
    world = World()
    world.api.settle = 60.0
    world.api.fail("show", Absent(), UNAVAILABLE, Absent())
    assert MADE == handle(world, message(1))


def test_a_backup_that_is_gone_is_a_failure() -> None:
    """Several lookups over some time did not find it."""
    world = World()
    world.api.fail("show", *[Absent()] * 99)
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.BACKUP_ERROR == failure(world).category
    assert 3 <= world.api.calls["show"]


def test_a_replay_of_a_backup_that_seemed_gone_makes_no_second_one() -> None:
    """It was there all the time, for another node of the API."""
    world = World()
    world.api.fail("show", *[Absent()] * 99)

    async def body() -> None:
        await world.run(message(1))
        world.api.fail_no_more()
        await world.run(replayed(world.broker.dead[0].message, world, "replay-1"))

    run(body)
    assert 1 == len(world.api.backups)
    assert "backup.completed" == world.published()[-1]


def test_a_backup_that_is_being_deleted_is_watched_until_it_is_gone() -> None:
    """A status that is no end means «not yet»."""
    world = World()
    world.api.ends.append(("deleting", None))
    world.broker.publish(message(1))

    async def body() -> None:
        for _ in range(8):
            await world.deliver()
            world.advance(60.0)
            world.broker.expire()
        assert ["backup.accepted"] == list(world.published())

    run(body)


def test_a_watch_ends_at_its_deadline() -> None:
    """TRACK_DEADLINE: told as expired; no second backup is ever made beside it."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_deadline=600.0))
    world.api.settle = float("inf")
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.EXPIRED == failure(world).category


def test_a_failing_look_at_a_watched_backup_is_asked_again() -> None:
    """It says nothing about the backup."""
    world = World()
    world.api.fail("show", UNAVAILABLE, CutBefore(), UNAVAILABLE)
    assert MADE == handle(world, message(1))


def test_an_unremembered_watch_goes_on_from_the_message() -> None:
    """LEDGER_URL=none and a restart: the message says what was made."""

    async def body() -> None:
        world = World(kind="none")
        world.api.settle = 100.0
        world.broker.publish(message(1))
        await world.deliver()
        await world.restart()
        await world.until_quiet()
        assert MADE == list(world.published())
        assert (1, 1) == (world.api.calls["create"], world.api.calls["find"])

    run(body)


# -- telling


def test_the_outcome_is_confirmed_before_the_wait() -> None:
    """Written down, told, kept for later, acknowledged: in this order."""
    world = World()
    handle(world, message(1))
    order = [
        "after create",
        "before created",
        "after created",
        "before publish_outcome",
        "after publish_outcome",
    ]
    first = world.steps.names.index("after create")
    assert [*order, "before delay", "after delay", "before ack"] == world.steps.names[first : first + 8]


def test_an_outcome_that_nobody_is_bound_for_is_told_later() -> None:
    """And the backup is not made again."""

    async def body() -> None:
        world = World()
        world.broker.bound = False
        world.broker.publish(message(1))
        await world.deliver()
        world.broker.bound = True
        await world.until_quiet()
        assert ["publish"] == waits(world)
        assert MADE == list(world.published())
        assert 1 == world.api.calls["create"]

    run(body)


def test_a_failure_that_could_not_be_told_is_not_buried_yet() -> None:
    """First the outcome, then the dead letter."""

    async def body() -> None:
        world = World()
        world.broker.bound = False
        world.broker.publish(Message(b"{"))
        await world.deliver()
        assert [] == world.broker.dead
        world.broker.bound = True
        await world.until_quiet()
        assert 1 == len(world.broker.dead)

    run(body)


def test_a_lost_connection_leaves_the_message_to_the_broker() -> None:
    """Nothing replaces it, so nothing may acknowledge it."""

    async def body() -> None:
        world = World()
        world.broker.lost = True
        with pytest.raises(ConnectionLost):
            await world.process.handle(world.receiver.receive(message(1)))

    run(body)
