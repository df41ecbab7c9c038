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

The side stories: ``looking`` (is there a backup already?), ``watching`` (how did it end?), ``policy`` (what
does a failure mean?), ``reply`` (what replaces the message).
"""

import logging
from contextlib import nullcontext
from dataclasses import replace
from typing import assert_never

from pydantic import ValidationError

from events.decode import Event, decode, open_message
from events.errors import EventError, EventIds, InvalidEvent
from events.message import Message, State, wrap
from events.outcome import Category, Failure, outcome
from events.snapshot import ForeignEvent, SnapshotEvent
from handler import reply as replies
from handler.choosing import Chooser
from handler.errors import ApiError, ConnectionLost, LedgerUnavailable, Unroutable
from handler.hooks import Follow, Handled, Notify
from handler.intake import Trouble
from handler.looking import Looking, wait_reason
from handler.ports import Doubt, Ended, Made, Ours, Outbox, Taken
from handler.reply import Case, Reply
from handler.request import backup_request
from handler.tools import Tools
from handler.watching import Watching

log = logging.getLogger(__name__)

_BUG = "a bug: please report it"


class Process:
    """Handles messages, many at a time. Everything concrete is handed in.

    ``notify`` hears of each when it is done, and ``follow`` surrounds each.
    """

    def __init__(
        self,
        *,
        tools: Tools,
        outbox: Outbox,
        chooser: Chooser,
        notify: Notify,
        follow: Follow = lambda _ids, traceparent: nullcontext(traceparent),
    ) -> None:
        self._tools = tools
        self._outbox = outbox
        self._chooser = chooser
        self._notify = notify
        self._follow = follow
        self._looking = Looking(tools)
        self._watching = Watching(tools)

    async def handle(self, message: Message) -> Handled:
        """Handle one message; on return the broker has confirmed everything that replaces it.

        Raises:
            ConnectionLost: nothing replaces it yet; the broker will deliver it again.

        """
        original, state = open_message(message, now=self._tools.clock())
        event = self._decoded(original)
        with self._follow(self._ids(event), state.traceparent or _producer(event)) as traceparent:
            handled = await self._surely(original, replace(state, traceparent=traceparent), event)
            self._notify(handled)
        return handled

    def _decoded(self, original: Message) -> Event | EventError:
        try:
            return decode(original, max_bytes=self._tools.terms.max_body_bytes)
        except EventError as error:
            return error
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            return _bug(error)

    async def _surely(self, original: Message, state: State, event: Event | EventError) -> Handled:
        """Go through the story; a bug ends it, since left as it is it would come back again and again."""
        try:
            return await self._story(original, state, event)
        except ConnectionLost:
            raise
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            return await self._refuse(original, state, _bug(error))

    async def _story(self, original: Message, state: State, event: Event | EventError) -> Handled:
        try:
            match event:
                case EventError():
                    return await self._refuse(original, state, event)
                case ForeignEvent():
                    return Handled("ignored", EventIds(type=event.type), state, form=event.form)
                case _:
                    case = self._case(original, state, event)
        except EventError as error:
            return await self._refuse(original, state, error)
        return await self._deliver(original, state, case.ids, await self._safely(case), event.form)

    async def _refuse(self, original: Message, state: State, error: EventError) -> Handled:
        return await self._deliver(original, state, error.ids, replies.wrong(error, original))

    def _ids(self, event: Event | EventError) -> EventIds:
        match event:
            case EventError():
                return event.ids
            case ForeignEvent():
                return EventIds(type=event.type)
        snapshot = event.snapshot
        project_id = snapshot.project_id or self._tools.terms.default_project
        return EventIds(
            event.id, event.source, event.type, project_id, snapshot.volume_id, snapshot.snapshot_id
        )

    def _case(self, original: Message, state: State, event: SnapshotEvent) -> Case:
        """Make the request, by the API's rules and our own. Raises ``InvalidEvent``."""
        ids = self._ids(event)
        project_id = ids.project_id
        if project_id is None:
            raise InvalidEvent("no_project", "the event names no project and VBS_PROJECT_ID is not set", ids)
        choice = self._chooser.choose(event, project_id)
        try:
            request = backup_request(event.snapshot, choice.overrides)
        except ValidationError as error:
            raise InvalidEvent("bad_request", str(error.errors(include_url=False)[0]["msg"]), ids) from None
        if request.project_id not in (None, project_id):
            raise InvalidEvent("other_project", "backup.project_id is not the event's project", ids)
        return Case(original, state, event, project_id, request, choice)

    async def _safely(self, case: Case) -> Reply:
        """Reply whatever happens: a ledger out of reach is everybody's trouble, a bug this message's own."""
        limits = self._tools.limits
        try:
            return await self._reply(case)
        except LedgerUnavailable as error:
            self._tools.intake.went_wrong(Trouble("everybody", f"ledger: {error}", why="ledger"))
            return replies.waits(case, "pause", limits.rung(0))
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            tried = case.tried()
            if tried.state.attempts < limits.max_attempts:
                return replies.waits(tried, "retry", limits.rung(case.state.attempts))
            message = f"{type(error).__name__} within snapshot-backup"
            return replies.failed(tried, Failure(category=Category.INVALID, code="bug", message=message))

    async def _reply(self, case: Case) -> Reply:
        """Find out what becomes of the case: the claim says whose it is and how far it has come."""
        tools = self._tools
        if case.choice.skip:
            return replies.skipped(case, case.choice.skip)
        if seconds := tools.intake.pause_left() or tools.intake.park(case.project_id):
            return replies.waits(case, "pause", seconds)
        claim = await tools.ledger.claim(case.key, case.cause, replay=case.state.replay is not None)
        match claim:
            case Ended():
                return replies.ended(case, claim)
            case Made() if case.state.reason == "watch":
                return await self._watching.watch(case, claim.backup.id, accepted_at=claim.made_at)
            case Made():
                return self._watching.accepted(case, claim.backup, made_at=claim.made_at, found=False)
            case Taken():
                return replies.waits(case, "retry", claim.until - tools.clock())
            case Ours() if case.state.reason == "watch" and case.state.backup_id:
                return await self._watch_unremembered(case, claim, case.state.backup_id)
            case Ours():
                return await self._make_or_abandon(case, case.in_doubt(claim))
            case _:
                assert_never(claim)

    async def _make_or_abandon(self, case: Case, claim: Ours) -> Reply:
        """Make the backup; a claim that nobody settled lapses instead of being renewed for ever."""
        try:
            return await self._make(case, claim)
        except BaseException:
            self._tools.ledger.abandon(claim)
            raise

    async def _make(self, case: Case, claim: Ours) -> Reply:
        """Make the backup that is ours to make, looking first wherever it may exist already."""
        tools = self._tools
        if case.event.proves == "requested" and (reply := await self._looking.for_snapshot(case, claim)):
            return reply
        found = await self._looking.for_backup(case, claim) if claim.doubt or claim.ask_first else None
        if isinstance(found, Reply):
            return found
        if found:
            await tools.ledger.made(claim, found)
            return self._watching.accepted(case, found, made_at=tools.clock(), found=True)
        wanted = await self._looking.for_parent(case, claim)
        if isinstance(wanted, Reply):
            return wanted
        if not await tools.ledger.holds(claim):
            await tools.ledger.release(claim)
            return replies.waits(case, "retry", tools.limits.rung(0))
        try:
            backup = await tools.api.create(case.project_id, wanted)
        except ApiError as error:
            return await self._not_made(case, claim, error)
        tools.intake.went_well()
        await tools.ledger.made(claim, backup)
        return self._watching.accepted(case.tried(), backup, made_at=tools.clock(), found=False)

    async def _not_made(self, case: Case, claim: Ours, error: ApiError) -> Reply:
        """Act on what the policy makes of a call that gave no backup."""
        tools = self._tools
        decision = tools.judge(case, error)
        tried = case.tried() if decision.counted else case
        if decision.action == "fail":
            return await tools.fail(tried, claim, replies.failure(error, decision.category))
        if decision.action == "look":
            now = tools.clock()
            doubt = Doubt(since=now, looks=0, look_after=now + decision.seconds)
            await tools.ledger.doubt(claim, doubt)
            return replies.looks_later(tried, doubt, decision.seconds)
        await tools.ledger.release(claim)
        return replies.waits(tried.certain(), wait_reason(decision), decision.seconds)

    async def _watch_unremembered(self, case: Case, claim: Ours, backup_id: str) -> Reply:
        """Watch where the ledger has forgotten, or never knew: the message itself says what was made."""
        await self._tools.ledger.release(claim)
        accepted_at = case.state.accepted_at or case.state.first_seen
        return await self._watching.watch(case, backup_id, accepted_at=accepted_at)

    async def _deliver(
        self, original: Message, state: State, ids: EventIds, reply: Reply, form: str | None = None
    ) -> Handled:
        """Publish what replaces the message: first the outcome, then the wait or the dead letter."""
        try:
            if reply.tell:
                await self._outbox.tell(outcome(reply.tell, traceparent=state.traceparent))
        except Unroutable:
            later = replace(state, reason="tell", waits=state.waits + 1)
            reply = Reply("waiting", wait=replies.Wait(later, self._tools.limits.rung(state.waits)))
        if reply.wait:
            event_id = ids.event_id or original.derived_id
            body = wrap(original, reply.wait.state, event_id=event_id, subject=ids.snapshot_id)
            await self._outbox.wait(body, seconds=reply.wait.seconds)
        if reply.bury:
            attempts = reply.tell.attempts if reply.tell else state.attempts
            await self._bury(original, replace(state, attempts=attempts), ids, reply.bury)
        return Handled(reply.kind, ids, state, reply, form)

    async def _bury(self, original: Message, state: State, ids: EventIds, failure: Failure) -> None:
        tools = self._tools
        headers = replies.dead_letter_headers(
            failure, ids, original, state, now=tools.clock(), queue=tools.terms.queue
        )
        await self._outbox.bury(original.blanked(), headers)


def _producer(event: Event | EventError) -> str | None:
    """Return the trace context that the event's producer has given."""
    return event.traceparent if isinstance(event, SnapshotEvent) else None


def _bug(error: Exception) -> EventError:
    return InvalidEvent("bug", f"{type(error).__name__} within snapshot-backup")
