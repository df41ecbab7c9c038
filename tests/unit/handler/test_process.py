"""The story of a message, one claim each, over twins in memory."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from events.decode import open_message
from events.message import Message, wrap
from events.outcome import BackupAccepted, BackupFailed, Category
from handler.choosing import Chooser
from handler.errors import ApiError, ConnectionLost, LedgerUnavailable
from handler.ports import Backup, Key, Ours, Snapshot
from handler.request import BackupRequest
from tests.twins.api import CutAfter, CutBefore, LateCommit, MemoryApi
from tests.twins.broker import copies
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.steps import Steps
from tests.twins.world import LEASE, TERMS, World, with_limits

MADE = ["backup.accepted", "backup.completed"]
UNAVAILABLE = ApiError(Category.UNAVAILABLE, "down", status=503)
UNTRACKED = TERMS._replace(track_backups=False)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's body on a loop of its own."""

    async def body() -> None:
        await work()

    asyncio.run(body())


def handle(world: World, *messages: Message) -> list[str]:
    """Run until quiet; return the types of what was told."""

    async def body() -> list[str]:
        return list(await world.run(*messages))

    return asyncio.run(body())


def failure(world: World) -> Any:
    """The ``error`` of the one failure that was told."""
    [told] = {each.id: each.data for each in world.outcomes if isinstance(each.data, BackupFailed)}.values()
    return told.error


def waits(world: World) -> list[str | None]:
    """Why the message waited, each time."""
    return [each.reason for each in world.handled if each.kind == "waiting"]


def trace(number: int) -> Message:
    """A CTS trace: proves only that a snapshot was requested."""
    body = {
        "trace_id": f"trace-{number}",
        "trace_name": "createSnapshot",
        "service_type": "EVS",
        "resource_type": "snapshot",
        "resource_id": made_up_id("snapshot", number),
        "code": "202",
        "project_id": PROJECT,
        "request": {"snapshot": {"volume_id": made_up_id("volume", number)}},
    }
    return Message(json.dumps(body).encode())


def replayed(message: Message, world: World, name: str) -> Message:
    """A dead letter sent back."""
    original, state = open_message(message, now=world.clock())
    return Message(wrap(original, state._replace(replay=name), event_id="x"))


# -- the straight way


def test_a_snapshot_becomes_a_backup() -> None:
    """Accepted, watched, completed."""
    world = World()
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_untracked_an_accepted_backup_is_the_end() -> None:
    """TRACK_BACKUPS=false asks the API nothing more."""
    world = World(terms=UNTRACKED)
    assert MADE[:1] == handle(world, message(1))
    assert 0 == world.api.calls["show"]


def test_a_watch_goes_on_until_the_backup_is_available() -> None:
    """However often it has to ask; nobody is told twice."""
    world = World()
    world.api.settle = 500.0
    assert MADE == handle(world, message(1))
    assert 3 < world.api.calls["show"]


def test_a_duplicate_makes_no_second_call() -> None:
    """Not afterwards, and told under the same id."""
    world = World()
    handle(world, *copies(message(1), 3))
    assert 1 == world.api.calls["create"]
    assert 2 == len({outcome.id for outcome in world.outcomes})


def test_duplicates_at_once_make_one_call() -> None:
    """While one is at it the others wait."""

    async def body() -> None:
        world = World()
        for copy in copies(message(1), 5):
            world.broker.publish(copy)
        await world.until_quiet(batch=5)
        assert 1 == world.api.calls["create"]

    run(body)


def test_two_events_of_one_snapshot_end_in_the_same_outcome() -> None:
    """Each is told of, under one id."""
    world = World()
    handle(world, message(1, event_id="a"), message(1, event_id="b"))
    ends = [each for each in world.outcomes if each.type == "backup.completed"]
    assert {"a", "b"} == {each.data.cause.id for each in ends}
    assert 1 == len({each.id for each in ends})
    assert 1 == len(world.api.backups)


def test_a_foreign_event_leaves_no_trace() -> None:
    """Counted and acknowledged."""
    body = {"event_type": "volume.create.end", "payload": {}, "message_id": "1"}
    world = World()
    assert [] == handle(world, Message(json.dumps(body).encode()))
    assert ["ignored"] == [each.kind for each in world.handled]


def test_a_skipped_snapshot_is_told_of() -> None:
    """And nothing is asked of the API."""
    world = World()
    assert ["backup.skipped"] == handle(world, message(1, snapshot_name="autobk_snapshot_7"))
    assert {} == dict(world.api.calls)


def test_a_project_that_is_not_allowed_is_skipped() -> None:
    """VBS_ALLOWED_PROJECTS."""
    world = World(chooser=Chooser((), ("other",)))
    assert ["backup.skipped"] == handle(world, message(1))


# -- no, for good


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (ApiError(Category.INVALID, "no", status=400), "invalid"),
        (ApiError(Category.REFUSED, "no", status=400), "refused"),
        (ApiError(Category.DENIED, "no", status=403), "denied"),
        (ApiError(Category.QUOTA, "full", status=413), "quota"),
        (ApiError(Category.NOT_FOUND, "gone", status=404), "not_found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_told_and_buried(error: ApiError, category: str) -> None:
    """One outcome, one dead letter with the same facts, and no second call."""
    world = World()
    world.api.fail("create", error)
    assert ["backup.failed"] == handle(world, message(1))
    [letter] = world.broker.dead
    assert (category, error.status, 1) == (
        letter.reason["dl-category"],
        letter.reason["dl-status"],
        letter.reason["dl-attempts"],
    )
    assert category == failure(world).category
    assert message(1).body == letter.message.body
    assert 1 == world.api.calls["create"]


def test_a_redelivery_of_what_failed_tells_the_same() -> None:
    """Even where the API has changed its mind."""
    world = World()
    world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))
    handle(world, *copies(message(1), 2))
    assert ["backup.failed"] * 2 == list(world.told())
    assert 1 == len({outcome.id for outcome in world.outcomes})


def test_another_event_may_try_what_one_was_refused() -> None:
    """The refusal was that event's."""
    world = World()
    world.api.fail("create", ApiError(Category.QUOTA, "full", status=413))
    handle(world, message(1, event_id="a"))
    assert ["backup.failed", *MADE] == handle(world, message(1, event_id="b"))


@pytest.mark.parametrize(
    ("body", "category"),
    [
        (b"{", "malformed"),
        (b'{"volume_id": "x", "snapshot_id": "y"}', "invalid"),
        (json.dumps({"a": "x" * TERMS.max_body_bytes}).encode(), "malformed"),
    ],
    ids=["no JSON", "bad ids", "too large"],
)
def test_what_is_no_event_is_buried_as_it_came(body: bytes, category: str) -> None:
    """Byte for byte, and told of."""
    world = World()
    assert ["backup.failed"] == handle(world, Message(body, "text/plain", {"own": 1}))
    [letter] = world.broker.dead
    assert (body, "text/plain", {"own": 1}) == (
        letter.message.body,
        letter.message.content_type,
        letter.message.headers,
    )
    assert category == letter.reason["dl-category"]


def test_the_body_may_not_name_another_project() -> None:
    """It would be backed up where the event is not from."""
    world = World()
    assert ["backup.failed"] == handle(world, message(1, backup={"project_id": "other"}))
    assert "other_project" == failure(world).code


def test_tokens_of_old_notifications_are_blanked_in_a_dead_letter() -> None:
    """All else stays as it came."""
    body = b'{"_context_auth_token": "secret", "event_type": "snapshot.create.end", "payload": 1}'
    world = World()
    handle(world, Message(body))
    assert body.replace(b"secret", b"") == world.broker.dead[0].message.body


def test_a_dead_letter_carries_no_marks_of_the_broker() -> None:
    """With them older brokers drop what goes round twice."""
    world = World()
    handle(world, Message(b"{", None, {"x-death": [], "x-first-death-queue": "q", "x-delivery-count": 1}))
    assert {} == world.broker.dead[0].message.headers


def test_a_dead_letter_says_where_it_came_from() -> None:
    """Always from the queue itself, also after waits; all ids are there."""
    world = World(terms=with_limits(max_attempts=2))
    world.api.fail("create", *[ApiError(Category.CONFLICT, "busy", status=409)] * 2)
    handle(world, message(1, event_id="e"))
    reason = world.broker.dead[0].reason
    assert ("q", "e", PROJECT, made_up_id("volume", 1), made_up_id("snapshot", 1), 2) == (
        reason["dl-source-queue"],
        reason["dl-event-id"],
        reason["dl-project-id"],
        reason["dl-volume-id"],
        reason["dl-snapshot-id"],
        reason["dl-attempts"],
    )
    assert reason["dl-first-seen"] < reason["dl-dead-at"]


def test_a_long_error_text_is_cut() -> None:
    """In the outcome as in the header."""
    world = World()
    world.api.fail("create", ApiError(Category.REFUSED, "x" * 100_000))
    handle(world, message(1))
    assert 1024 == len(failure(world).message) == len(world.broker.dead[0].reason["dl-message"])


# -- not now


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ApiError(Category.CONFLICT, "creating", status=400), "retry"),
        (ApiError(Category.CONFLICT, "backing-up", status=400, busy=True), "look"),
        (ApiError(Category.THROTTLED, "slow", status=429, retry_after=2.0), "pause"),
        (ApiError(Category.UNAVAILABLE, "down", status=503), "pause"),
        (ApiError(Category.DENIED, "sign in", status=401), "pause"),
        (CutBefore(), "look"),
        (CutAfter(), "look"),
        (LateCommit(3.0), "look"),
    ],
    ids=["conflict", "busy", "throttled", "unavailable", "sign-in", "cut before", "cut after", "late commit"],
)
def test_what_is_not_final_waits_and_then_succeeds(error: Any, reason: str) -> None:
    """It waits for its reason, and one backup is made in the end."""
    world = World()
    world.api.fail("create", error)
    assert MADE == handle(world, message(1))
    assert reason == waits(world)[0]
    assert 1 == len(world.api.backups)


def test_conflicts_run_out_of_attempts() -> None:
    """MAX_ATTEMPTS tries, then the dead letters."""
    world = World()
    world.api.fail("create", *[ApiError(Category.CONFLICT, "busy", status=409)] * 10)
    assert ["backup.failed"] == handle(world, message(1))
    assert TERMS.limits.max_attempts == world.api.calls["create"]


def test_an_outage_burns_no_attempt() -> None:
    """Ten failures, and the message still says it was tried once."""
    world = World()
    world.api.fail("create", *[UNAVAILABLE] * 10)
    assert MADE == handle(world, message(1))
    assert 1 == world.outcomes[0].data.attempts


def test_an_outage_ends_with_max_age() -> None:
    """Then the event has expired; it never reached the API."""
    world = World(terms=with_limits(max_age=100.0))
    world.api.fail("create", *[UNAVAILABLE] * 100)
    assert ["backup.failed"] == handle(world, message(1))
    assert Category.EXPIRED == failure(world).category


def test_a_parked_project_does_not_call() -> None:
    """While one waits for its project's time the next does not even try."""
    world = World(terms=UNTRACKED)
    world.api.fail("create", ApiError(Category.THROTTLED, "slow", status=429, retry_after=3.0))

    async def body() -> None:
        world.broker.publish(message(1))
        world.broker.publish(message(2))
        world.broker.publish(message(3, project_id="other"))
        for _ in range(3):
            await world.deliver()
        assert 2 == world.api.calls["create"]
        assert ["waiting", "waiting", "accepted"] == [each.kind for each in world.handled]

    run(body)


def test_a_lease_of_somebody_else_is_waited_for() -> None:
    """Until it ends, and then the call that may have left is looked for."""

    async def body() -> None:
        world = World()
        assert isinstance(await world.ledger.claim(_key(1), "other"), Ours)
        assert MADE == list(await world.run(message(1)))
        assert {"retry", "look"} == set(waits(world))

    run(body)


def test_a_ledger_out_of_reach_stops_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, nothing is lost, and it goes on by itself."""

    class Down(World):
        down = 3

        def new_process(self, ledger: Any = None) -> Any:
            process = super().new_process(ledger)
            claim = process._tools.ledger.claim

            async def refusing(*args: Any, **kwargs: Any) -> Any:
                if self.down:
                    self.down -= 1
                    raise LedgerUnavailable("locked")
                return await claim(*args, **kwargs)

            monkeypatch.setattr(process._tools.ledger, "claim", refusing)
            return process

    world = Down()
    assert MADE == handle(world, message(1))
    assert "ledger: locked" == world.intake.reason or world.intake.reason is None
    assert 1 == world.api.calls["create"]


def test_a_trace_waits_until_its_snapshot_is_complete() -> None:
    """What only proves a request is checked at the API."""
    world = World()
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "creating")
    world.api.snapshots[snapshot.id] = snapshot

    async def body() -> None:
        world.broker.publish(trace(1))
        await world.deliver()
        world.api.snapshots[snapshot.id] = snapshot._replace(status="available")
        await world.until_quiet()
        assert ["check"] == waits(world)
        assert MADE == list(world.told())

    run(body)


@pytest.mark.parametrize(
    ("status", "category"), [(None, "not_found"), ("error", "refused"), ("deleting", "refused")]
)
def test_a_snapshot_that_never_completes_is_no_backup(status: str | None, category: str) -> None:
    """The trace fails, for good."""
    world = World()
    if status:
        snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), status)
        world.api.snapshots[snapshot.id] = snapshot
    assert ["backup.failed"] == handle(world, trace(1))
    assert category == failure(world).category


def test_a_trace_of_a_snapshot_that_hangs_expires() -> None:
    """After MAX_AGE."""
    world = World(terms=with_limits(max_age=100.0))
    snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "creating")
    world.api.snapshots[snapshot.id] = snapshot
    assert ["backup.failed"] == handle(world, trace(1))
    assert Category.EXPIRED == failure(world).category


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
    world.api.fail("create", LateCommit(TERMS.limits.settle_time))
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_a_doubt_outlives_a_ledger_that_forgets() -> None:
    """LEDGER_URL=none and another process: the message itself tells how often it was looked for."""
    world = World(kind="none")
    world.api.fail("create", LateCommit(TERMS.limits.settle_time))

    async def story() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        await world.restart()
        await world.until_quiet()

    run(story)
    assert MADE == world.told()
    assert 1 == len(world.api.backups)


def test_a_doubt_that_never_ends_is_told_as_one() -> None:
    """Looks that fail until MAX_AGE: a backup may exist, and somebody must know."""
    world = World(terms=with_limits(max_age=200.0))
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
    assert "backup.completed" == world.told()[-1]


def test_a_replay_after_success_makes_none() -> None:
    """The backup is there."""
    world = World()

    async def body() -> None:
        await world.run(message(1))
        await world.run(replayed(message(1), world, "replay-1"))

    run(body)
    assert 1 == len(world.api.backups)


def test_a_watch_ends_at_its_deadline() -> None:
    """TRACK_DEADLINE: told as expired; no second backup is ever made beside it."""
    world = World(terms=TERMS._replace(track_deadline=600.0))
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
        assert MADE == list(world.told())
        assert (1, 1) == (world.api.calls["create"], world.api.calls["find"])

    run(body)


# -- telling


def test_the_outcome_is_confirmed_before_the_wait() -> None:
    """Written down, told, kept for later, acknowledged: in this order."""
    world = World()
    handle(world, message(1))
    order = ["after create", "before made", "after made", "before tell", "after tell"]
    first = world.steps.names.index("after create")
    assert [*order, "before wait", "after wait", "before ack"] == world.steps.names[first : first + 8]


def test_an_outcome_that_nobody_is_bound_for_is_told_later() -> None:
    """And the backup is not made again."""

    async def body() -> None:
        world = World()
        world.broker.bound = False
        world.broker.publish(message(1))
        await world.deliver()
        world.broker.bound = True
        await world.until_quiet()
        assert ["tell"] == waits(world)
        assert MADE == list(world.told())
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
            await world.process.handle(message(1))

    run(body)


# -- clocks


@pytest.mark.parametrize("jump", [-3600.0, -1.0, 1.0, 3600.0])
def test_a_clock_that_is_set_in_between_makes_no_second_call(jump: float) -> None:
    """An hour back, as by a wrong change of summer time, or forth: still one backup and one end."""

    async def body() -> None:
        world = World()
        world.api.settle = 30.0
        world.api.fail("create", CutAfter())
        world.broker.publish(message(1))
        await world.deliver()
        world.clock.advance(jump)
        await world.until_quiet()
        assert MADE == list(world.told())
        assert 1 == len(world.api.backups)

    run(body)


# -- bugs


class _Buggy(MemoryApi):
    """An API whose client has a bug."""

    bugs = 1

    async def create(self, project_id: str, request: BackupRequest) -> Any:
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("a bug")
        return await super().create(project_id, request)


def _buggy_world(bugs: int) -> World:
    world = World()
    world.api = _Buggy(world.steady)
    world.api.bugs = bugs
    world.start()
    return world


def test_a_bug_is_tried_again_when_its_claim_has_lapsed() -> None:
    """The live process does not renew what nobody settled."""

    async def body() -> None:
        world = _buggy_world(bugs=1)
        world.broker.publish(message(1))
        await world.deliver()
        await world.ledger.renew()
        world.advance(LEASE / 2)
        await world.ledger.renew()
        assert MADE == list(await world.run())
        assert {"retry", "look"} == set(waits(world))

    run(body)


def test_a_bug_that_stays_ends_in_the_dead_letters() -> None:
    """It is counted, like the message's own trouble."""
    world = _buggy_world(bugs=100)
    assert ["backup.failed"] == handle(world, message(1))
    assert "bug" == world.broker.dead[0].reason["dl-code"]


def test_a_bug_outside_the_story_buries_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left in hand it would come back for ever."""

    def decode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("handler.opening.decode", decode)
    world = World()
    assert ["backup.failed"] == handle(world, message(1))
    assert message(1).body == world.broker.dead[0].message.body


def test_a_deadly_message_is_told_before_the_broker_buries_it() -> None:
    """The broker's own delivery limit would end it without an outcome."""
    deadly = message(1)._replace(headers={"x-delivery-count": TERMS.crash_limit})
    world = World()

    assert ["backup.failed"] == handle(world, deadly)
    assert "deadly" == failure(world).code
    assert 0 == world.api.calls["create"]
    assert 1 == len(world.broker.dead)


@pytest.mark.parametrize("step", ["before claim", "after claim", "before create", "before made"])
def test_a_deadly_message_ends_wherever_it_kills(step: str) -> None:
    """Between two deaths it waits for the dead one's claim to end, which must not begin the count anew."""

    async def body() -> None:
        world = World(steps=Steps(deadly=step))
        assert ["backup.failed"] == list(await world.run(message(1)))
        assert "deadly" == failure(world).code
        assert TERMS.crash_limit == len(world.crashes)
        assert 1 == len(world.broker.dead)
        assert 1 >= len(world.api.backups)

    run(body)


def test_a_message_that_came_back_less_often_is_handled() -> None:
    """Innocents come back too, when the process ends for another reason."""
    returned = message(1)._replace(headers={"x-delivery-count": TERMS.crash_limit - 1})

    assert MADE == handle(World(), returned)


def test_a_cancelled_message_keeps_its_doubt() -> None:
    """A drain that ran out of time: who comes next looks first."""

    async def body() -> None:
        world = World()
        started = asyncio.Event()

        class Hanging(MemoryApi):
            async def create(self, project_id: str, request: BackupRequest) -> Any:
                await super().create(project_id, request)
                started.set()
                await asyncio.Event().wait()

        world.api = Hanging(world.steady)
        world.start()
        task = asyncio.create_task(world.process.handle(message(1)))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        backups = world.api.backups
        world.api = MemoryApi(world.steady, backups=backups)
        await world.restart()
        assert MADE == list(await world.run(message(1)))
        assert 1 == len(backups)

    run(body)


def _key(number: int) -> Key:
    return Key(PROJECT, made_up_id("snapshot", number))


def test_the_twin_shows_backups_as_the_port_says() -> None:
    """What the tests above see is a ``Backup`` of the port."""

    async def body() -> None:
        world = World()
        await world.run(message(1))
        [found] = await world.api.find(PROJECT, made_up_id("volume", 1), made_up_id("snapshot", 1), "x")
        assert isinstance(found, Backup)

    run(body)
