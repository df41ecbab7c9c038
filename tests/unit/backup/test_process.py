"""Message handling, one test for each rule, with twins in memory."""

import base64
import gzip
import json
import uuid
from typing import Any, get_args

import pytest

from events.message import Message
from events.outcome import Category
from events.republish import ORIGINAL_HEADERS
from handler.backup.ports import Claim, Granted, Key
from handler.backup.running import Room
from handler.backup.selection import Selection
from handler.backup.services import Services
from handler.errors import ApiError, LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from tests.twins.api import Call, CutAfter, CutBefore, LateCommit
from tests.twins.broker import copies
from tests.twins.events import PROJECT, cloud_event, made_up_id, message
from tests.twins.steps import SteppedLedger, Steps
from tests.twins.world import MESSAGE_SETTINGS, World, with_limits
from tests.unit.backup.handling import MADE, UNAVAILABLE, UNTRACKED, failure, handle, run, waits
from tests.unit.events.forms import load

# -- without failures


def test_a_snapshot_becomes_a_backup() -> None:
    """One event leads to one backup, which is published as accepted and as completed."""
    world = World()
    assert MADE == handle(world, message(1))
    assert 1 == len(world.api.backups)


def test_untracked_an_accepted_backup_is_the_end() -> None:
    """With TRACK_BACKUPS=false the accepted backup is not looked up."""
    world = World(settings=UNTRACKED)
    assert MADE[:1] == handle(world, message(1))
    assert 0 == world.api.calls["show"]


def test_tracking_goes_on_until_the_backup_is_available() -> None:
    """Several lookups see a backup that is not available yet; each outcome is published once."""
    world = World()
    world.api.settle = 500.0
    assert MADE == handle(world, message(1))
    assert 3 < world.api.calls["show"]


def test_a_duplicate_makes_no_second_call() -> None:
    """Three deliveries of one event create one backup and publish the same two outcome ids."""
    world = World()
    handle(world, *copies(message(1), 3))
    assert 1 == world.api.calls["create"]
    assert 2 == len({outcome.id for outcome in world.outcomes})


def test_duplicates_at_once_make_one_call() -> None:
    """Of five copies that are handled concurrently, only one calls ``create``."""

    async def body() -> None:
        world = World()
        for copy in copies(message(1), 5):
            world.broker.publish(copy)
        await world.until_quiet(batch=5)
        assert 1 == world.api.calls["create"]

    run(body)


def test_two_events_of_one_snapshot_end_in_the_same_outcome() -> None:
    """The completed backup is published for each event, under one outcome id."""
    world = World()
    handle(world, message(1, event_id="a"), message(1, event_id="b"))
    ends = [each for each in world.outcomes if each.type == "backup.completed"]
    assert {"a", "b"} == {each.data.cause.id for each in ends}
    assert 1 == len({each.id for each in ends})
    assert 1 == len(world.api.backups)


def test_a_foreign_event_leaves_no_trace() -> None:
    """A foreign event publishes nothing and is counted as ignored."""
    body = {"event_type": "volume.create.end", "payload": {}, "message_id": "1"}
    world = World()
    assert [] == handle(world, Message(json.dumps(body).encode()))
    assert ["ignored"] == [each.kind for each in world.handled]


def test_a_skipped_snapshot_is_published() -> None:
    """A skipped snapshot is published as skipped, and the API is not called."""
    world = World()
    assert ["backup.skipped"] == handle(world, message(1, snapshot_name="autobk_snapshot_7"))
    assert {} == dict(world.api.calls)


def test_a_project_that_is_not_allowed_is_skipped() -> None:
    """Snapshots of a project outside VBS_ALLOWED_PROJECTS are skipped."""
    world = World(selection=Selection((), ("other",)))
    assert ["backup.skipped"] == handle(world, message(1))


# -- failures that are final


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (ApiError(Category.INVALID, "no", status=400), "invalid"),
        (ApiError(Category.REFUSED, "no", status=400), "refused"),
        (ApiError(Category.DENIED, "no", status=403), "denied"),
        (ApiError(Category.QUOTA, "full", status=413), "quota"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_published_and_dead_lettered(error: ApiError, category: str) -> None:
    """A refusal gives one outcome, one dead letter with the same facts, and no second call."""
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


def test_a_redelivery_of_a_failed_event_publishes_the_same_outcome() -> None:
    """The second delivery publishes the same failure, though the API would accept the request now."""
    world = World()
    world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))
    handle(world, *copies(message(1), 2))
    assert ["backup.failed"] * 2 == list(world.published())
    assert 1 == len({outcome.id for outcome in world.outcomes})


def test_another_event_may_try_what_one_was_refused() -> None:
    """A refusal ends one event; another event of the snapshot calls the API again."""
    world = World()
    world.api.fail("create", ApiError(Category.QUOTA, "full", status=413))
    handle(world, message(1, event_id="a"))
    assert ["backup.failed", *MADE] == handle(world, message(1, event_id="b"))


@pytest.mark.parametrize(
    ("body", "category"),
    [
        (b"{", "malformed"),
        (b'{"volume_id": "x", "snapshot_id": "y"}', "invalid"),
        (json.dumps({"a": "x" * MESSAGE_SETTINGS.max_body_bytes}).encode(), "malformed"),
    ],
    ids=["no JSON", "bad ids", "too large"],
)
def test_a_message_that_is_no_event_is_dead_lettered_unchanged(body: bytes, category: str) -> None:
    """Body, content type and headers stay unchanged in the dead letter, and the failure is published."""
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
    """A backup in a project other than the event's is refused."""
    world = World()
    assert ["backup.failed"] == handle(world, message(1, backup={"project_id": "other"}))
    assert "other_project" == failure(world).code


def test_tokens_of_old_notifications_are_blanked_in_a_dead_letter() -> None:
    """The token is removed from the body, and the rest stays unchanged."""
    body = b'{"_context_auth_token": "secret", "event_type": "snapshot.create.end", "payload": 1}'
    world = World()
    handle(world, Message(body))
    assert body.replace(b"secret", b"") == world.broker.dead[0].message.body


def test_tokens_in_compressed_notifications_reach_no_queue() -> None:
    """A gzip body that waits and then dies has no token in either queue, and is still gzip."""
    text = json.dumps({**load("cinder-bare"), "_context_auth_token": "secret"}).encode()
    world = World(settings=with_limits(max_attempts=2))
    world.api.fail("create", *[ApiError(Category.CONFLICT, "busy", status=409)] * 9)
    waiting: list[bytes] = []

    async def body() -> None:
        world.broker.publish(Message(gzip.compress(text), None, {}, {"content_encoding": "gzip"}))
        await world.deliver()
        waiting.extend(each.body for each in world.broker.waiting)
        await world.until_quiet()

    run(body)
    [kept] = [json.loads(each)["data"] for each in waiting]
    dead = world.broker.dead[0].message
    expected = text.replace(b"secret", b"")
    assert expected == gzip.decompress(base64.urlsafe_b64decode(kept["body"]))
    assert (expected, {"content_encoding": "gzip"}) == (gzip.decompress(dead.body), dead.properties)


def test_a_dead_letter_makes_no_broker_act() -> None:
    """Brokers route by ``CC``, and old ones drop messages by ``x-death``, so both are kept as data."""
    acting = {"x-death": [], "x-first-death-queue": "q", "CC": ["q"]}
    world = World()
    handle(world, Message(b"{", None, {**acting, "x-delivery-count": 1, "dl-code": "forged"}))
    assert {ORIGINAL_HEADERS: acting} == world.broker.dead[0].message.headers


def test_a_dead_letter_says_where_it_came_from() -> None:
    """The reason names the consumed queue, even after a delay, and has all ids and times."""
    world = World(settings=with_limits(max_attempts=2))
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


def test_a_long_error_text_is_truncated() -> None:
    """The outcome and the header have the same truncated text."""
    world = World()
    world.api.fail("create", ApiError(Category.REFUSED, "x" * 100_000))
    handle(world, message(1))
    assert 1024 == len(failure(world).message) == len(world.broker.dead[0].reason["dl-message"])


# -- failures that are not final


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ApiError(Category.CONFLICT, "creating", status=400), "retry"),
        (ApiError(Category.CONFLICT, "backing-up", status=400, busy=True), "lookup"),
        (ApiError(Category.THROTTLED, "slow", status=429, retry_after=2.0), "pause"),
        (ApiError(Category.UNAVAILABLE, "down", status=503), "pause"),
        (ApiError(Category.DENIED, "sign in", status=401), "pause"),
        (CutBefore(), "lookup"),
        (CutAfter(), "lookup"),
        (LateCommit(3.0), "lookup"),
    ],
    ids=["conflict", "busy", "throttled", "unavailable", "sign-in", "cut before", "cut after", "late commit"],
)
def test_after_a_failure_that_is_not_final_a_message_waits_and_succeeds(error: Any, reason: str) -> None:
    """Each failure gives its own wait reason, and one backup is made in the end."""
    world = World()
    world.api.fail("create", error)
    assert MADE == handle(world, message(1))
    assert reason == waits(world)[0]
    assert 1 == len(world.api.backups)


def test_conflicts_run_out_of_attempts() -> None:
    """After MAX_ATTEMPTS calls the event fails."""
    world = World()
    world.api.fail("create", *[ApiError(Category.CONFLICT, "busy", status=409)] * 10)
    assert ["backup.failed"] == handle(world, message(1))
    assert MESSAGE_SETTINGS.limits.max_attempts == world.api.calls["create"]


def test_an_outage_burns_no_attempt() -> None:
    """After ten failures of the service the outcome still reports one attempt."""
    world = World()
    world.api.fail("create", *[UNAVAILABLE] * 10)
    assert MADE == handle(world, message(1))
    assert 1 == world.outcomes[0].data.attempts


def test_an_outage_ends_with_max_age() -> None:
    """An event whose calls fail until MAX_AGE has expired."""
    world = World(settings=with_limits(max_age=100.0))
    world.api.fail("create", *[UNAVAILABLE] * 100)
    assert ["backup.failed"] == handle(world, message(1))
    assert Category.EXPIRED == failure(world).category


def test_a_parked_project_does_not_call() -> None:
    """Messages of a throttled project are delayed without a call; another project goes on."""
    world = World(settings=UNTRACKED)
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


def test_a_message_waits_for_the_lease_of_another_worker() -> None:
    """The message waits until the lease ends, and then looks up the backup of a call that may have left."""

    async def body() -> None:
        world = World()
        assert isinstance(await world.ledger.claim(Key(PROJECT, made_up_id("snapshot", 1)), "other"), Granted)
        assert MADE == list(await world.run(message(1)))
        assert {"retry", "lookup"} == set(waits(world))

    run(body)


class LockedLedger(SteppedLedger):
    """A ledger whose first three claims fail."""

    def __init__(self, ledger: StoredLedger, steps: Steps) -> None:
        super().__init__(ledger, steps)
        self.failures = 3

    async def claim(
        self, key: Key, cause: str, *, replay: bool = False, room: Room | None = None, known: bool = False
    ) -> Claim:
        if self.failures:
            self.failures -= 1
            raise LedgerUnavailable("locked")
        return await super().claim(key, cause, replay=replay, room=room, known=known)


class LockedWorld(World):
    """A world whose processes have a ``LockedLedger``."""

    def services(self, ledger: StoredLedger | None = None) -> Services:
        return super().services(ledger)._replace(ledger=LockedLedger(ledger or self.ledger, self.steps))


def test_the_circuit_breaker_s_reason_has_the_remedy() -> None:
    """The line of the log that says why consuming stops says what to check."""
    world = World()
    error = ApiError(Category.UNAVAILABLE, "no connection", remedy="VBS_ENDPOINT: check host")
    for call in get_args(Call):
        world.api.fail(call, error, error)

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert "no connection; VBS_ENDPOINT: check host" == world.breaker.reason

    run(body)


def test_a_ledger_that_is_locked_opens_the_circuit_breaker() -> None:
    """While the ledger fails no request is sent; later the message is handled without a restart."""
    world = LockedWorld()

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert ("open", "ledger") == (world.breaker.state, world.breaker.why)
        assert 0 == world.api.calls["create"]
        await world.until_quiet()

    run(body)
    assert {"pause"} == set(waits(world)) - {"track"}
    assert MADE == list(world.published())
    assert 1 == world.api.calls["create"]


@pytest.mark.parametrize("selection", [Selection((), ()), Selection((), (PROJECT,))], ids=["any", "allowed"])
def test_a_project_in_three_spellings_is_one_key(selection: Selection) -> None:
    """Upper case and dashes in the project id lead to no second backup and no second outcome id."""
    dashed = str(uuid.UUID(PROJECT))
    world = World(selection=selection)
    handle(world, *(message(1, project_id=each) for each in (PROJECT, PROJECT.upper(), dashed)))

    assert 1 == len(world.api.backups)
    assert 2 == len({outcome.id for outcome in world.outcomes})


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _traced(**fields: Any) -> Message:
    """Return an event with a ``traceparent``."""
    value = {**cloud_event(1, **fields), "traceparent": TRACE}
    return Message(json.dumps(value).encode(), "application/cloudevents+json")


def _in_a_call(inner: Message) -> Message:
    return Message(json.dumps({"trigger_type": "RABBITMQ", "messages": [inner.body.decode()]}).encode())


@pytest.mark.parametrize(
    "refused",
    [
        _traced(snapshot_id="no id"),
        _traced(backup={"name": "auto-x"}),
        _traced(backup={"project_id": "another"}),
        _traced()._replace(bad_headers=("deep",)),
        Message(b"{", None, {"traceparent": TRACE}),
        Message(b"x" * 70_000, None, {"traceparent": TRACE}),
        Message(b"{}", None, {"cloudEvents:specversion": "1.0", "cloudEvents:traceparent": TRACE}),
        _in_a_call(_traced(volume_id="x")),
    ],
    ids=["field", "name", "project", "headers", "no JSON", "too large", "binary", "in an envelope"],
)
def test_a_refused_event_passes_its_trace_on(refused: Message) -> None:
    """``backup.failed`` has the ``traceparent`` of the producer, whatever is wrong with the event."""
    world = World()

    assert ["backup.failed"] == handle(world, refused)
    assert TRACE == json.loads(world.outcomes[0].body)["traceparent"]
