"""Message handling when answers are lost, backups end or outcomes are unroutable, with twins in memory."""

from pathlib import Path

import pytest

from events.message import Message
from events.outcome import BackupAccepted, Category
from handler.backup.ports import Backup
from handler.backup.request import BackupRequest
from handler.errors import ApiError, ConnectionLost
from tests.twins.api import Absent, CutAfter, CutBefore, DoneThen, LateCommit, MemoryApi
from tests.twins.broker import copies
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.world import MESSAGE_SETTINGS, LedgerKind, World, with_limits
from tests.unit.backup.handling import MADE, UNAVAILABLE, failure, handle, replayed, run, waits

# -- in doubt


def test_no_lookup_is_made_before_it_is_due() -> None:
    """Another event of a snapshot in doubt waits until the lookup is due: a slow server commits late."""
    world = World()
    world.api.fail("create", CutAfter())

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.broker.publish(message(1, event_id="another"))
        await world.deliver()
        assert ["lookup", "lookup"] == waits(world)
        assert 0 == world.api.calls["find"]
        await world.until_quiet()

    run(body)
    assert 1 == len(world.api.backups)


def test_a_lost_answer_is_found_and_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    """The outcome says that the backup was found, ``create`` is called once, and no error is logged."""
    world = World()
    world.api.fail("create", CutAfter())
    handle(world, message(1))
    accepted = world.outcomes[0].data
    assert isinstance(accepted, BackupAccepted)
    assert accepted.found
    assert 1 == world.api.calls["create"]
    assert [] == [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_lost_answer_is_found_by_name_where_ids_are_hidden() -> None:
    """Some API releases omit the snapshot id, so the backup is looked up by its name."""
    world = World()
    world.api.hide_snapshot_ids = True
    world.api.fail("create", CutAfter())
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_request_that_never_arrived_is_sent_again_after_three_lookups() -> None:
    """The second request follows only after three lookups that found no backup."""
    world = World()
    world.api.fail("create", CutBefore())
    assert MADE == handle(world, message(1))
    assert (2, 3) == (world.api.calls["create"], world.api.calls["find"])


def test_a_lookup_that_fails_is_no_absence() -> None:
    """Five failed lookups do not lead to a second request, since the backup may exist."""
    world = World()
    world.api.fail("create", CutAfter())
    world.api.fail("find", *[UNAVAILABLE] * 5)
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_late_commit_is_found() -> None:
    """The API may commit a backup after the connection was lost."""
    world = World()
    world.api.fail("create", LateCommit(MESSAGE_SETTINGS.limits.settle_time))
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_doubt_outlives_a_ledger_that_forgets() -> None:
    """With LEDGER_URL=none the message itself carries the number of lookups across a restart."""
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


def test_a_doubt_that_never_ends_is_published_as_in_doubt() -> None:
    """If lookups fail until MAX_AGE, the outcome says that a backup may exist."""
    world = World(settings=with_limits(max_age=200.0))
    world.api.fail("create", CutAfter())
    world.api.fail("find", *[UNAVAILABLE] * 200)
    assert ["backup.failed"] == handle(world, message(1))
    assert Category.IN_DOUBT == failure(world).category


def test_of_several_backups_the_oldest_sound_one_is_published(caplog: pytest.LogCaptureFixture) -> None:
    """A second sound backup, which another program made, is logged as an error."""
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
    """With LEDGER_URL=none a lookup finds the backup that another process made."""
    world = World(kind="none")

    async def body() -> None:
        await world.run(message(1))
        await world.restart()
        await world.run(message(1))

    run(body)
    assert 1 == len(world.api.backups)


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("kind", ["sqlite", "memory", "none"])
def test_an_error_answer_after_the_work_is_done_makes_no_second_backup(
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
    """A request that was not sent can have made no backup, so it is sent again without a lookup."""
    world = World()
    world.api.fail("create", ApiError(Category.UNAVAILABLE, "no route to host", sent=False))
    assert MADE == handle(world, message(1))
    assert (2, 0) == (world.api.calls["create"], world.api.calls["find"])


# -- the end of a backup


def test_a_backup_that_ends_in_error_is_a_failure() -> None:
    """``backup.failed`` has the reason that the API gives."""
    world = World()
    world.api.end_in_error("the driver said no")
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert (Category.BACKUP_ERROR, "the driver said no") == (failure(world).category, failure(world).message)


def test_a_replay_after_an_error_makes_a_second_backup_once() -> None:
    """Three deliveries of the replayed dead letter make one more backup."""
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
    """A replay of an event whose backup is completed makes no second backup."""
    world = World()

    async def body() -> None:
        await world.run(message(1))
        await world.run(replayed(message(1), world, "replay-1"))

    run(body)
    assert 1 == len(world.api.backups)


@pytest.mark.parametrize("times", [1, 2])
def test_a_backup_that_a_lookup_does_not_find_is_tracked_further(times: int) -> None:
    """Right after the 202 a node of the API that lags behind may not know the backup yet."""
    world = World()
    world.api.fail("show", *[Absent()] * times)
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_lookups_that_fail_in_between_are_no_absences() -> None:
    """A failed lookup between two absences does not count as the third absence."""
    world = World()
    world.api.settle = 60.0
    world.api.fail("show", Absent(), UNAVAILABLE, Absent())
    assert MADE == handle(world, message(1))


class _Flickering(MemoryApi):
    """An API of two nodes that answer by turns; the first does not know the backup before it is completed."""

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        backup = await super().show(project_id, backup_id)
        return backup if backup is None or backup.status == "available" or self._is_second() else None

    def _is_second(self) -> bool:
        return not self.calls["show"] % 2


def test_a_lookup_that_finds_the_backup_resets_the_absences() -> None:
    """More than three absences end nothing while a lookup between them finds the backup."""
    world = World()
    world.api = _Flickering(world.steady, settle=1_500.0)
    world.start()
    assert MADE == handle(world, message(1))
    assert 8 <= world.api.calls["show"]


def test_a_backup_that_is_gone_is_a_failure() -> None:
    """The event fails after at least three lookups that did not find the backup."""
    world = World()
    world.api.fail("show", *[Absent()] * 99)
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.BACKUP_ERROR == failure(world).category
    assert 3 <= world.api.calls["show"]


def test_a_backup_that_is_shown_as_deleted_is_gone() -> None:
    """Some releases show a deleted backup for a while: lookups that show it count as absences."""
    world = World()
    world.api.ends.append(("deleted", None))
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.BACKUP_ERROR == failure(world).category


def test_a_backup_that_is_not_found_expires_at_its_deadline() -> None:
    """TRACK_DEADLINE ends tracking even before the absence is certain; the backup may still exist."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_deadline=1.0))
    world.api.fail("show", *[Absent()] * 99)
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.EXPIRED == failure(world).category


def test_a_replay_of_a_backup_that_seemed_gone_makes_no_second_one() -> None:
    """Only the answering node did not know the backup; the replay's lookup finds it."""
    world = World()
    world.api.fail("show", *[Absent()] * 99)

    async def body() -> None:
        await world.run(message(1))
        world.api.fail_no_more()
        await world.run(replayed(world.broker.dead[0].message, world, "replay-1"))

    run(body)
    assert 1 == len(world.api.backups)
    assert "backup.completed" == world.published()[-1]


def test_a_backup_that_is_being_deleted_is_still_tracked() -> None:
    """The status ``deleting`` is no end, so no further outcome is published."""
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


def test_tracking_ends_at_its_deadline() -> None:
    """A backup that is not complete after TRACK_DEADLINE is published as expired."""
    world = World(settings=MESSAGE_SETTINGS._replace(track_deadline=600.0))
    world.api.settle = float("inf")
    assert ["backup.accepted", "backup.failed"] == handle(world, message(1))
    assert Category.EXPIRED == failure(world).category


def test_a_failed_lookup_of_a_tracked_backup_is_repeated() -> None:
    """A failed lookup says nothing about the backup, so tracking goes on."""
    world = World()
    world.api.fail("show", UNAVAILABLE, CutBefore(), UNAVAILABLE)
    assert MADE == handle(world, message(1))


def test_tracking_without_a_ledger_goes_on_from_the_message() -> None:
    """With LEDGER_URL=none the message names the backup, so tracking survives a restart."""

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


# -- publishing


def test_the_outcome_is_confirmed_before_the_wait() -> None:
    """The ledger is written first; the outcome, the delay and the acknowledgement follow in this order."""
    world = World()
    handle(world, message(1))
    order = [
        "after create",
        "before created",
        "after created",
        "before publish_outcome",
        "after publish_outcome",
        "before record_waiting",
        "after record_waiting",
        "before delay",
        "after delay",
        "before ack",
    ]
    first = world.steps.names.index("after create")
    assert order == world.steps.names[first : first + len(order)]


def test_an_outcome_that_no_queue_is_bound_for_is_published_later() -> None:
    """The unroutable outcome is published after a delay, and ``create`` is called once."""

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


def test_a_failure_that_could_not_be_published_is_not_dead_lettered_yet() -> None:
    """The message is dead-lettered only after its outcome is published."""

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
    """Nothing replaces the message, so ``handle`` raises and the caller must not acknowledge it."""

    async def body() -> None:
        world = World()
        world.broker.lost = True
        with pytest.raises(ConnectionLost):
            await world.process.handle(world.receiver.receive(message(1)))

    run(body)
