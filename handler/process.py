"""The story of one message, from the delivery to what replaces it.

delivery ─ decode ─ is it for us? ─ claim (ledger) ─┬─ ended before → tell again
                                                    ├─ made before → tell again, or watch it
                                                    ├─ somebody else is at it → wait
                                                    └─ ours → create ─┬─ 202 → remember → accepted ─ watch
                                                                      ├─ no, for good → failed + dead letter
                                                                      ├─ not now → wait
                                                                      └─ no answer: in doubt → wait, then look
                                                                         before any second try

What must not happen twice is written into the ledger before it is told. What is told, waits or is buried
has been confirmed by the broker when ``handle`` returns; only then does the caller acknowledge. A crash
between any two steps leaves a redelivery, and each step is safe to repeat.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from pydantic import ValidationError

from events.decode import decode, open_message
from events.errors import EventError, EventIds, InvalidEvent
from events.message import Message, State, WaitReason, wrap
from events.outcome import AcceptedBackup, Category, Failure, outcome
from events.snapshot import ForeignEvent, SnapshotEvent
from handler import reply as replies
from handler.choosing import Chooser
from handler.errors import ApiError, LedgerUnavailable, Unroutable
from handler.intake import Intake, Trouble
from handler.policy import Decision, Limits, decide, may_send_again, watch_delay
from handler.ports import Api, Backup, Doubt, Ended, Ledger, Made, Ours, Outbox, Taken
from handler.reply import Case, Kind, Reply
from handler.request import backup_request

_LOOK_BACK = 60.0
"""An API that answered somebody within these seconds is not down."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings that the story depends on; durations in seconds."""

    limits: Limits
    default_project: str | None
    max_body_bytes: int
    track_backups: bool
    track_deadline: float
    queue: str


@dataclass(frozen=True, slots=True)
class Handled:
    """How a message was handled. Nothing is left to do but to acknowledge it."""

    kind: Kind
    ids: EventIds
    reason: str | None = None


class Process:
    """Handles messages, many at a time. Everything concrete is handed in."""

    def __init__(
        self,
        *,
        api: Api,
        ledger: Ledger,
        outbox: Outbox,
        chooser: Chooser,
        intake: Intake,
        terms: Terms,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._outbox = outbox
        self._chooser = chooser
        self._intake = intake
        self._terms = terms
        self._limits = terms.limits
        self._clock = clock

    async def handle(self, message: Message) -> Handled:
        """Handle one message; on return the broker has confirmed everything that replaces it.

        Raises:
            ConnectionLost: nothing replaces it yet; the broker will deliver it again.

        """
        original, state = open_message(message, now=self._clock())
        try:
            event = decode(original, max_bytes=self._terms.max_body_bytes)
            if isinstance(event, ForeignEvent):
                return Handled("ignored", EventIds(type=event.type), event.form)
            case = self._case(original, state, event)
        except EventError as error:
            return await self._deliver(original, state, error.ids, replies.wrong(error, original))
        return await self._deliver(original, state, case.ids, await self._reply(case), case.event.traceparent)

    def _case(self, original: Message, state: State, event: SnapshotEvent) -> Case:
        """Make the request, by the API's rules and our own. Raises ``InvalidEvent``."""
        project_id = event.snapshot.project_id or self._terms.default_project
        ids = _ids(event, project_id)
        if project_id is None:
            raise InvalidEvent("no_project", "the event names no project and VBS_PROJECT_ID is not set", ids)
        try:
            request = backup_request(event.snapshot)
        except ValidationError as error:
            raise InvalidEvent("bad_request", str(error.errors(include_url=False)[0]["msg"]), ids) from None
        if request.project_id not in (None, project_id):
            raise InvalidEvent("other_project", "backup.project_id is not the event's project", ids)
        return Case(original, state, event, project_id, request)

    async def _reply(self, case: Case) -> Reply:
        """Find out what becomes of the case: the claim says whose it is and how far it has come."""
        if reason := self._chooser.reason_to_skip(case.event, case.project_id):
            return replies.skipped(case, reason)
        if seconds := self._intake.pause_left() or self._intake.park(case.project_id):
            return replies.waits(case, "pause", seconds)
        try:
            claim = await self._ledger.claim(case.key, case.cause, replay=case.state.replay is not None)
            match claim:
                case Ended():
                    return replies.ended(case, claim)
                case Made():
                    return await self._made_before(case, claim)
                case Taken():
                    return replies.waits(case, "retry", claim.until - self._clock())
                case Ours():
                    return await self._ours(case, claim)
                case _:
                    assert_never(claim)
        except LedgerUnavailable as error:
            self._intake.went_wrong(Trouble("everybody", f"ledger: {error}"))
            return replies.waits(case, "pause", self._limits.rung(0))

    async def _ours(self, case: Case, claim: Ours) -> Reply:
        """Make the backup that is ours to make, looking first wherever it may exist already."""
        if case.state.reason == "watch" and claim.ask_first and case.state.backup_id:
            return await self._watch_unremembered(case, claim, case.state.backup_id)
        if case.event.proves == "requested" and (reply := await self._not_complete(case, claim)):
            return reply
        if (claim.doubt or claim.ask_first) and (reply := await self._look(case, claim)):
            return reply
        if not await self._ledger.holds(claim):
            return replies.waits(case, "retry", self._limits.rung(0))
        try:
            backup = await self._api.create(case.project_id, case.request)
        except ApiError as error:
            return await self._not_made(case, claim, error)
        self._intake.went_well()
        await self._ledger.made(claim, backup)
        return self._accepted(case.tried(), backup, made_at=self._clock(), found=False)

    def _accepted(self, case: Case, backup: AcceptedBackup, *, made_at: float, found: bool) -> Reply:
        """Tell that the backup is being made, and watch it to its end where that is wanted."""
        reply = replies.accepted(case, backup, found=found)
        if not self._terms.track_backups:
            return reply
        seconds = watch_delay(age=self._clock() - made_at, size_gb=case.event.snapshot.size_gb)
        return replies.watched(reply, case, backup.id, accepted_at=made_at, seconds=seconds)

    async def _not_made(self, case: Case, claim: Ours, error: ApiError) -> Reply:
        """Act on what the policy makes of a call that gave no backup."""
        decision = self._decide(case, error)
        tried = case.tried() if decision.counted else case
        if decision.action == "fail":
            return await self._failed(tried, claim, replies.failure(error, decision.category))
        if decision.action == "look":
            now = self._clock()
            await self._ledger.doubt(claim, Doubt(since=now, looks=0, look_after=now + decision.seconds))
            return replies.waits(tried, "look", decision.seconds)
        await self._ledger.release(claim)
        return replies.waits(tried, _wait_reason(decision), decision.seconds)

    async def _failed(self, case: Case, claim: Ours, failure: Failure) -> Reply:
        """Write down that this event has failed, so that a redelivery tells the same; then tell it."""
        if failure.category is Category.IN_DOUBT:
            now = self._clock()
            await self._ledger.doubt(claim, claim.doubt or Doubt(since=now, looks=0, look_after=now))
        await self._ledger.refused(claim, case.cause, failure, attempts=case.state.attempts)
        return replies.failed(case, failure)

    async def _look(self, case: Case, claim: Ours) -> Reply | None:
        """Look for a backup that may exist already. None means: there is none, and it may be sent (again)."""
        doubt, now = claim.doubt, self._clock()
        if doubt and now < doubt.look_after:
            await self._ledger.doubt(claim, doubt)
            return replies.waits(case, "look", doubt.look_after - now)
        request = case.request
        try:
            found = await self._api.find(
                case.project_id, request.volume_id, request.snapshot_id, request.name
            )
        except ApiError as error:
            return await self._not_known(case, claim, error)
        self._intake.went_well()
        if backup := _best([each for each in found if each.id not in claim.spoiled]):
            made = AcceptedBackup(id=backup.id, name=backup.detail.name)
            await self._ledger.made(claim, made)
            return self._accepted(case, made, made_at=self._clock(), found=True)
        if doubt is None or may_send_again(
            looks=doubt.looks + 1, since=doubt.since, now=now, limits=self._limits
        ):
            return None
        return await self._look_later(case, claim, doubt)

    async def _look_later(self, case: Case, claim: Ours, doubt: Doubt) -> Reply:
        """One absence more, which proves little yet: look again after a longer wait."""
        seconds = self._limits.rung(doubt.looks + 1)
        later = Doubt(doubt.since, doubt.looks + 1, self._clock() + seconds)
        await self._ledger.doubt(claim, later)
        return replies.waits(case, "look", seconds)

    async def _not_known(self, case: Case, claim: Ours, error: ApiError) -> Reply:
        """Act on a look-up that failed: it is no absence, so nothing may be sent and nothing is counted."""
        decision = self._decide(case, error)
        if decision.action == "fail":
            category = Category.IN_DOUBT if claim.doubt else decision.category
            return await self._failed(case, claim, replies.failure(error, category))
        if claim.doubt:
            await self._ledger.doubt(claim, claim.doubt)
        else:
            await self._ledger.release(claim)
        return replies.waits(case, "look" if claim.doubt else _wait_reason(decision), decision.seconds)

    async def _not_complete(self, case: Case, claim: Ours) -> Reply | None:
        """Ask the API whether a snapshot that was only requested is complete. None means: it is."""
        try:
            snapshot = await self._api.show_snapshot(case.project_id, case.request.snapshot_id)
        except ApiError as error:
            return await self._not_known(case, claim, error)
        self._intake.went_well()
        if snapshot is None:
            failure = Failure(category=Category.NOT_FOUND, message="the API knows no such snapshot")
            return await self._failed(case, claim, failure)
        if snapshot.status in ("available", "backing-up"):
            return None
        if snapshot.status.startswith("error") or snapshot.status == "deleting":
            message = f"the snapshot is {snapshot.status}"
            return await self._failed(case, claim, Failure(category=Category.REFUSED, message=message))
        if self._clock() - case.state.first_seen > self._limits.max_age:
            message = f"the snapshot is still {snapshot.status} after MAX_AGE"
            return await self._failed(case, claim, Failure(category=Category.EXPIRED, message=message))
        await self._ledger.release(claim)
        return replies.waits(case, "check", self._limits.rung(case.state.waits))

    async def _made_before(self, case: Case, made: Made) -> Reply:
        """Tell again that the backup is being made, or see how far it is."""
        if case.state.reason != "watch":
            return self._accepted(case, made.backup, made_at=made.made_at, found=False)
        return await self._watch(case, made.backup.id, accepted_at=made.made_at)

    async def _watch_unremembered(self, case: Case, claim: Ours, backup_id: str) -> Reply:
        """Watch without a ledger that remembers: the message itself says what was made."""
        await self._ledger.release(claim)
        accepted_at = case.state.accepted_at or case.state.first_seen
        return await self._watch(case, backup_id, accepted_at=accepted_at)

    async def _watch(self, case: Case, backup_id: str, *, accepted_at: float) -> Reply:
        """Ask how the backup is; unknown statuses mean «not yet»."""
        age = max(0.0, self._clock() - accepted_at)
        try:
            backup = await self._api.show(case.project_id, backup_id)
        except ApiError as error:
            decision = self._decide(case, error)
            return self._watch_on(case, backup_id, accepted_at, max(decision.seconds, self._limits.rung(0)))
        self._intake.went_well()
        if end := _end(backup, age, deadline=self._terms.track_deadline):
            end = replace(end, attempts=case.state.attempts)
            await self._ledger.ended(case.key, end, backup_id=backup_id, cause=case.cause)
            return replies.ended(case, end)
        size = case.event.snapshot.size_gb or (backup.detail.size if backup else None)
        return self._watch_on(case, backup_id, accepted_at, watch_delay(age=age, size_gb=size))

    def _watch_on(self, case: Case, backup_id: str, accepted_at: float, seconds: float) -> Reply:
        return replies.watched(Reply("waiting"), case, backup_id, accepted_at=accepted_at, seconds=seconds)

    def _decide(self, case: Case, error: ApiError) -> Decision:
        """Ask the policy, and tell intake whom the trouble concerns."""
        decision = decide(
            error,
            attempts=case.state.attempts,
            waits=case.state.waits,
            age=self._clock() - case.state.first_seen,
            limits=self._limits,
            others_fine=self._intake.answered_within(_LOOK_BACK),
        )
        if decision.scope == "message":
            self._intake.went_well()
        else:
            seconds = decision.seconds if decision.scope == "project" else error.retry_after or 0.0
            self._intake.went_wrong(Trouble(decision.scope, str(error), case.project_id, seconds))
        return decision

    async def _deliver(
        self, original: Message, state: State, ids: EventIds, reply: Reply, traceparent: str | None = None
    ) -> Handled:
        """Publish what replaces the message: first the outcome, then the wait or the dead letter."""
        event_id = ids.event_id or original.derived_id
        try:
            if reply.tell:
                await self._outbox.tell(outcome(reply.tell, traceparent=traceparent))
        except Unroutable:
            later = replace(state, reason="tell", waits=state.waits + 1)
            reply = Reply("waiting", wait=replies.Wait(later, self._limits.rung(state.waits)))
        if reply.wait:
            body = wrap(original, reply.wait.state, event_id=event_id, subject=ids.snapshot_id)
            await self._outbox.wait(body, seconds=reply.wait.seconds)
        if reply.bury:
            await self._bury(original, state, ids, reply.bury)
        return Handled(reply.kind, ids, _reason(reply))

    async def _bury(self, original: Message, state: State, ids: EventIds, failure: Failure) -> None:
        headers = replies.dead_letter_headers(
            failure, ids, original, state, now=self._clock(), queue=self._terms.queue
        )
        await self._outbox.bury(original.blanked(), headers)


def _wait_reason(decision: Decision) -> WaitReason:
    return "retry" if decision.scope == "message" else "pause"


def _reason(reply: Reply) -> str | None:
    if reply.bury:
        return reply.bury.category.value
    return reply.wait.state.reason if reply.wait else None


def _ids(event: SnapshotEvent, project_id: str | None) -> EventIds:
    snapshot = event.snapshot
    return EventIds(event.id, event.source, event.type, project_id, snapshot.volume_id, snapshot.snapshot_id)


def _best(found: Sequence[Backup]) -> Backup | None:
    """The oldest that is not in error; one in error only where there is no other."""
    sound = [backup for backup in found if not backup.status.startswith("error")]
    return next(iter(sound or found), None)


def _end(backup: Backup | None, age: float, *, deadline: float) -> Ended | None:
    """Tell whether the backup has come to its end, and which."""
    if backup is None or backup.status in ("deleting", "deleted"):
        return _spoiled("the backup was deleted before it was available")
    if backup.status == "available":
        return Ended(backup=backup.detail, seconds=round(age, 3))
    if backup.status.startswith("error"):
        return _spoiled(backup.fail_reason or f"the backup is in status {backup.status}")
    if age > deadline:
        message = f"the backup is still {backup.status} after TRACK_DEADLINE ({deadline:g} s)"
        return Ended(failure=Failure(category=Category.EXPIRED, message=message))
    return None


def _spoiled(message: str) -> Ended:
    return Ended(failure=Failure(category=Category.BACKUP_ERROR, message=replies.cut(message)))
