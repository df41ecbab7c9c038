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

The side stories: ``parse`` (what is in it?), ``lookup`` (is there a backup already?), ``tracking``
(how did it end?), ``policy`` (what does a failure mean?), ``result`` (what replaces the message).
"""

import logging
from contextlib import nullcontext
from typing import assert_never

from events.errors import EventError, EventIds, InvalidEvent
from events.message import Message, State, wrap
from events.outcome import Category, Failure, outcome
from events.republish import inert
from events.snapshot import ForeignEvent
from handler.backup import result as replies
from handler.backup.breaker import ScopedFailure
from handler.backup.hooks import Follow, Handled, Notify
from handler.backup.lookup import Looking, wait_reason
from handler.backup.parse import Opened, Opening
from handler.backup.ports import Doubt, Ended, Made, Ours, Outbox, Taken
from handler.backup.result import Case, Reply
from handler.backup.selection import Chooser
from handler.backup.services import Tools
from handler.backup.tracking import Watching
from handler.errors import ApiError, ConnectionLost, LedgerUnavailable, Unroutable

log = logging.getLogger(__name__)

_BUG = "a bug: please report it"
_WITHIN = "within snapshot-backup"


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
        self._notify = notify
        self._follow = follow
        self._opening = Opening(tools, chooser)
        self._looking = Looking(tools)
        self._watching = Watching(tools)

    async def handle(self, message: Message) -> Handled:
        """Handle one message; on return the broker has confirmed everything that replaces it.

        Raises:
            ConnectionLost: nothing replaces it yet; the broker will deliver it again.

        """
        try:
            return await self._handle_one(message)
        except ConnectionLost:
            raise
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            return await self._last_resort(message, error)

    async def _handle_one(self, message: Message) -> Handled:
        opened = self._opening.open(message)
        with self._follow(opened.ids, opened.traceparent) as traceparent:
            crashes = opened.state.crashes + message.delivery_count
            state = opened.state._replace(traceparent=traceparent, crashes=crashes)
            handled = await self._handle(opened, state)
            self._report(handled)
        return handled

    async def _last_resort(self, message: Message, error: Exception) -> Handled:
        """Dead-letter the body as it arrived. Nothing of the message is read: reading it may have failed."""
        now = self._tools.clock()
        text = f"{type(error).__name__} {_WITHIN}"
        headers = replies.minimal_headers(text, now=now, queue=self._tools.terms.queue)
        await self._outbox.bury(Message(message.body), headers)
        handled = Handled("failed", EventIds(), State(first_seen=now))
        self._report(handled)
        return handled

    def _report(self, handled: Handled) -> None:
        """Call the hook. The message is handled: an error of the hook must not have it handled again."""
        try:
            self._notify(handled)
        except Exception:
            log.exception(_BUG, extra={"action": "message.bug"})

    async def _handle(self, opened: Opened, state: State) -> Handled:
        if isinstance(opened.event, ForeignEvent):
            return Handled("ignored", opened.ids, state, form=opened.form)
        case = self._opening.case(opened, opened.event, state)
        if isinstance(case, EventError):
            reply = replies.wrong(case, opened.original)
        else:
            reply = await self._safely(case)
        return await self._deliver(opened, state, reply)

    async def _safely(self, case: Case) -> Reply:
        """Reply whatever happens: a ledger out of reach is everybody's trouble, a bug this message's own."""
        limits = self._tools.limits
        try:
            return await self._reply(case)
        except LedgerUnavailable as error:
            self._tools.breaker.record_failure(ScopedFailure("service", f"ledger: {error}", why="ledger"))
            return replies.waits(case, "pause", limits.rung(0))
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            tried = case.tried()
            if tried.state.attempts < limits.max_attempts:
                return replies.waits(tried, "retry", limits.rung(case.state.attempts))
            message = f"{type(error).__name__} {_WITHIN}"
            return replies.failed(tried, Failure(category=Category.INVALID, code="bug", message=message))

    async def _reply(self, case: Case) -> Reply:
        """Find out what becomes of the case: the claim says whose it is and how far it has come."""
        tools = self._tools
        if case.choice.skip:
            return replies.skipped(case, case.choice.skip)
        if case.state.crashes >= tools.terms.crash_limit:
            return await self._last_word(case)
        if seconds := tools.breaker.pause_left() or tools.breaker.park(case.project_id):
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

    async def _last_word(self, case: Case) -> Reply:
        """Tell what is known and begin nothing: at its next return the broker buries it without a word."""
        state = case.state
        known = await self._tools.ledger.give_up(
            case.key,
            case.cause,
            _deadly(state.crashes),
            attempts=state.attempts,
            watched=state.reason == "watch",
            replay=state.replay is not None,
        )
        if isinstance(known, Made):
            return self._watching.accepted(case, known.backup, made_at=known.made_at, found=False)
        return replies.ended(case, known)

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
        tools.breaker.record_success()
        await tools.ledger.made(claim, backup)
        return self._watching.accepted(case.tried(), backup, made_at=tools.clock(), found=False)

    async def _not_made(self, case: Case, claim: Ours, error: ApiError) -> Reply:
        """Act on what the policy makes of a call that gave no backup."""
        tools = self._tools
        decision = tools.judge(case, error)
        tried = (case.tried() if decision.counted else case).survived()
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

    async def _deliver(self, opened: Opened, state: State, reply: Reply) -> Handled:
        """Publish what replaces the message: first the outcome, then the wait or the dead letter."""
        ended = False
        try:
            reply = await self._tell(reply, state)
            ended = reply.bury is not None
            await self._keep(opened, state, reply)
        except ConnectionLost:
            raise
        except Exception as error:
            if not ended:
                bug = InvalidEvent("bug", f"{type(error).__name__} {_WITHIN}", opened.ids)
                await self._tell(replies.wrong(bug, opened.original), state)
            raise
        return Handled(reply.kind, opened.ids, state, reply, opened.form)

    async def _tell(self, reply: Reply, state: State) -> Reply:
        """Publish the outcome; where no queue is bound for it, the reply becomes a wait."""
        try:
            if reply.tell:
                await self._outbox.tell(outcome(reply.tell, traceparent=state.traceparent))
        except Unroutable:
            later = state._replace(reason="tell", waits=state.waits + 1)
            return Reply("waiting", wait=replies.Wait(later, self._tools.limits.rung(state.waits)))
        return reply

    async def _keep(self, opened: Opened, state: State, reply: Reply) -> None:
        """Put the message into a wait queue or the dead letters."""
        ids, original = opened.ids, opened.original
        if reply.wait:
            body = wrap(original, reply.wait.state, event_id=opened.event_id, subject=ids.snapshot_id)
            await self._outbox.wait(body, seconds=reply.wait.seconds)
        if reply.bury:
            attempts = reply.tell.attempts if reply.tell else state.attempts
            await self._bury(opened, state._replace(attempts=attempts), reply.bury)

    async def _bury(self, opened: Opened, state: State, failure: Failure) -> None:
        now, queue = self._tools.clock(), self._tools.terms.queue
        headers = replies.dead_letter_headers(
            failure, opened.ids, opened.original, state, now=now, queue=queue
        )
        await self._outbox.bury(inert(opened.original.blanked()), headers)


def _deadly(crashes: int) -> Failure:
    """Nothing that it began is known to have been done, nor not to have been: a replay looks first."""
    message = f"{crashes} processes or connections ended with this message in hand"
    return Failure(category=Category.INVALID, code="deadly", message=message)
