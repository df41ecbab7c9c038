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
from handler.backup import result as results
from handler.backup.breaker import ScopedFailure
from handler.backup.hooks import Follow, Handled, Notify
from handler.backup.lookup import Lookup, wait_reason
from handler.backup.parse import Opened, Opening
from handler.backup.ports import Busy, Created, Doubt, Finished, Granted, Outbox
from handler.backup.result import Job, Result
from handler.backup.selection import Selection
from handler.backup.services import Services
from handler.backup.tracking import Tracking
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
        services: Services,
        outbox: Outbox,
        selection: Selection,
        notify: Notify,
        follow: Follow = lambda _ids, traceparent: nullcontext(traceparent),
    ) -> None:
        self._services = services
        self._outbox = outbox
        self._notify = notify
        self._follow = follow
        self._opening = Opening(services, selection)
        self._lookup = Lookup(services)
        self._tracking = Tracking(services)

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
        now = self._services.clock()
        text = f"{type(error).__name__} {_WITHIN}"
        headers = results.minimal_headers(text, now=now, queue=self._services.settings.queue)
        await self._outbox.dead_letter(Message(message.body), headers)
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
        job = self._opening.job(opened, opened.event, state)
        if isinstance(job, EventError):
            result = results.rejected(job, opened.original)
        else:
            result = await self._safely(job)
        return await self._deliver(opened, state, result)

    async def _safely(self, job: Job) -> Result:
        """Reply whatever happens: a ledger out of reach is everybody's trouble, a bug this message's own."""
        limits = self._services.limits
        try:
            return await self._work_out(job)
        except LedgerUnavailable as error:
            self._services.breaker.record_failure(ScopedFailure("service", f"ledger: {error}", why="ledger"))
            return results.delayed(job, "pause", limits.delay(0))
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            attempted = job.attempted()
            if attempted.state.attempts < limits.max_attempts:
                return results.delayed(attempted, "retry", limits.delay(job.state.attempts))
            message = f"{type(error).__name__} {_WITHIN}"
            return results.failed(attempted, Failure(category=Category.INVALID, code="bug", message=message))

    async def _work_out(self, job: Job) -> Result:
        """Find out what becomes of the case: the claim says whose it is and how far it has come."""
        services = self._services
        if job.selected.skip:
            return results.skipped(job, job.selected.skip)
        if job.state.crashes >= services.settings.crash_limit:
            return await self._final_delivery(job)
        if seconds := services.breaker.pause_left() or services.breaker.park(job.project_id):
            return results.delayed(job, "pause", seconds)
        claim = await services.ledger.claim(job.key, job.cause, replay=job.state.replay is not None)
        match claim:
            case Finished():
                return results.finished(job, claim)
            case Created() if job.state.reason == "track":
                return await self._tracking.track(job, claim.backup.id, accepted_at=claim.made_at)
            case Created():
                return self._tracking.accepted(job, claim.backup, made_at=claim.made_at, found=False)
            case Busy():
                return results.delayed(job, "retry", claim.until - services.clock())
            case Granted() if job.state.reason == "track" and job.state.backup_id:
                return await self._track_unrecorded(job, claim, job.state.backup_id)
            case Granted():
                return await self._make_or_abandon(job, job.in_doubt(claim))
            case _:
                assert_never(claim)

    async def _final_delivery(self, job: Job) -> Result:
        """Tell what is known and begin nothing: at its next return the broker buries it without a word."""
        state = job.state
        known = await self._services.ledger.give_up(
            job.key,
            job.cause,
            _poison(state.crashes),
            attempts=state.attempts,
            tracked=state.reason == "track",
            replay=state.replay is not None,
        )
        if isinstance(known, Created):
            return self._tracking.accepted(job, known.backup, made_at=known.made_at, found=False)
        return results.finished(job, known)

    async def _make_or_abandon(self, job: Job, claim: Granted) -> Result:
        """Make the backup; a claim that nobody settled lapses instead of being renewed for ever."""
        try:
            return await self._make(job, claim)
        except BaseException:
            self._services.ledger.abandon(claim)
            raise

    async def _make(self, job: Job, claim: Granted) -> Result:
        """Make the backup that is ours to make, looking first wherever it may exist already."""
        services = self._services
        if job.event.proves == "requested" and (result := await self._lookup.for_snapshot(job, claim)):
            return result
        found = await self._lookup.for_backup(job, claim) if claim.doubt or claim.ask_first else None
        if isinstance(found, Result):
            return found
        if found:
            await services.ledger.created(claim, found)
            return self._tracking.accepted(job, found, made_at=services.clock(), found=True)
        wanted = await self._lookup.for_parent(job, claim)
        if isinstance(wanted, Result):
            return wanted
        if not await services.ledger.holds(claim):
            await services.ledger.release(claim)
            return results.delayed(job, "retry", services.limits.delay(0))
        try:
            backup = await services.api.create(job.project_id, wanted)
        except ApiError as error:
            return await self._not_made(job, claim, error)
        services.breaker.record_success()
        await services.ledger.created(claim, backup)
        return self._tracking.accepted(job.attempted(), backup, made_at=services.clock(), found=False)

    async def _not_made(self, job: Job, claim: Granted, error: ApiError) -> Result:
        """Act on what the policy makes of a call that gave no backup."""
        services = self._services
        decision = services.classify(job, error)
        attempted = (job.attempted() if decision.counted else job).without_crashes()
        if decision.action == "fail":
            return await services.fail(attempted, claim, results.failure(error, decision.category))
        if decision.action == "look_up":
            now = services.clock()
            doubt = Doubt(since=now, lookups=0, lookup_after=now + decision.seconds)
            await services.ledger.doubt(claim, doubt)
            return results.look_up_later(attempted, doubt, decision.seconds)
        await services.ledger.release(claim)
        return results.delayed(attempted.without_doubt(), wait_reason(decision), decision.seconds)

    async def _track_unrecorded(self, job: Job, claim: Granted, backup_id: str) -> Result:
        """Watch where the ledger has forgotten, or never knew: the message itself says what was made."""
        await self._services.ledger.release(claim)
        accepted_at = job.state.accepted_at or job.state.first_seen
        return await self._tracking.track(job, backup_id, accepted_at=accepted_at)

    async def _deliver(self, opened: Opened, state: State, result: Result) -> Handled:
        """Publish what replaces the message: first the outcome, then the wait or the dead letter."""
        ended = False
        try:
            result = await self._publish_outcome(result, state)
            ended = result.dead_letter is not None
            await self._delay_or_dead_letter(opened, state, result)
        except ConnectionLost:
            raise
        except Exception as error:
            if not ended:
                bug = InvalidEvent("bug", f"{type(error).__name__} {_WITHIN}", opened.ids)
                await self._publish_outcome(results.rejected(bug, opened.original), state)
            raise
        return Handled(result.kind, opened.ids, state, result, opened.form)

    async def _publish_outcome(self, result: Result, state: State) -> Result:
        """Publish the outcome; where no queue is bound for it, the reply becomes a wait."""
        try:
            if result.outcome:
                await self._outbox.publish_outcome(outcome(result.outcome, traceparent=state.traceparent))
        except Unroutable:
            later = state._replace(reason="publish", waits=state.waits + 1)
            return Result("waiting", delay=results.Delay(later, self._services.limits.delay(state.waits)))
        return result

    async def _delay_or_dead_letter(self, opened: Opened, state: State, result: Result) -> None:
        """Put the message into a wait queue or the dead letters."""
        ids, original = opened.ids, opened.original
        if result.delay:
            body = wrap(original, result.delay.state, event_id=opened.event_id, subject=ids.snapshot_id)
            await self._outbox.delay(body, seconds=result.delay.seconds)
        if result.dead_letter:
            attempts = result.outcome.attempts if result.outcome else state.attempts
            await self._dead_letter(opened, state._replace(attempts=attempts), result.dead_letter)

    async def _dead_letter(self, opened: Opened, state: State, failure: Failure) -> None:
        now, queue = self._services.clock(), self._services.settings.queue
        headers = results.dead_letter_headers(
            failure, opened.ids, opened.original, state, now=now, queue=queue
        )
        await self._outbox.dead_letter(inert(opened.original.blanked()), headers)


def _poison(crashes: int) -> Failure:
    """Nothing that it began is known to have been done, nor not to have been: a replay looks first."""
    message = f"{crashes} processes or connections ended with this message in hand"
    return Failure(category=Category.INVALID, code="poison", message=message)
