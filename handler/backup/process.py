"""Message handling: from a received message to what replaces it.

received ─ parse ─ is it for us? ─ claim (ledger) ─┬─ finished → publish the outcome again
                                                   ├─ created  → publish it again, or track the backup
                                                   ├─ busy     → delay
                                                   ├─ full     → delay, until fewer backups are in progress
                                                   └─ granted  → create ─┬─ 202 → ledger → accepted ─ track
                                                                         ├─ refused → failed + dead letter
                                                                         ├─ not now → delay
                                                                         └─ no answer: in doubt → delay, then
                                                                            look up before any second request

Every decision is in the ledger before it is published. When ``handle`` returns, the broker has confirmed
everything that replaces the message; only then the caller acknowledges. A crash between any two steps leaves
a redelivery, and each step is safe to repeat.

Beside it: ``parse`` (bytes to job), ``lookup`` (does a backup exist already?), ``tracking`` (a backup to its
end), ``policy`` (what does a failure mean?), ``result`` (what replaces the message), ``replacement``
(publishes that).
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import assert_never

from events.errors import EventIds
from events.message import Message, WaitReason
from events.outcome import Category, Failure
from handler.backup import result as results
from handler.backup.breaker import ScopedFailure
from handler.backup.delays import Delays, waiting_id
from handler.backup.hooks import Follow, Notify
from handler.backup.incremental import Incremental, Planned
from handler.backup.lookup import Lookup, wait_reason
from handler.backup.parse import Parser
from handler.backup.policy import paused_delay
from handler.backup.ports import Busy, Created, Doubt, Finished, Full, Granted, Outbox
from handler.backup.received import Received
from handler.backup.replacement import Replacement
from handler.backup.result import Delay, Job, Result
from handler.backup.selection import Selection
from handler.backup.services import Services, held
from handler.backup.tracking import Tracking
from handler.errors import ApiError, CallHeld, ConnectionLost, LedgerUnavailable, TooLarge

log = logging.getLogger(__name__)

_BUG = "a bug: please report it"


class Process:
    """Handles messages, many at a time. Everything concrete is handed in.

    ``notify`` is called with each result, ``follow`` surrounds the handling of each message. ``drop_copies``
    says that redeliveries are counted: then a copy of a message that waits already is dropped. ``route`` has
    a job handled by the process of its cloud, where there are several.
    """

    def __init__(
        self,
        *,
        services: Services,
        outbox: Outbox,
        selection: Selection,
        notify: Notify,
        follow: Follow = lambda _ids, traceparent: nullcontext(traceparent),
        drop_copies: bool = False,
        route: Callable[[Job], Awaitable[Result]] | None = None,
    ) -> None:
        self._services = services
        self._route = route or self.result
        self._outbox = outbox
        self._notify = notify
        self._follow = follow
        self._parser = Parser(services, selection)
        self._lookup = Lookup(services, self._parser.selected_again)
        self._incremental = Incremental(services, self._lookup)
        self._tracking = Tracking(services)
        self._delays = Delays(services, outbox, drop_copies=drop_copies)
        self._replacement = Replacement(services, outbox, self._delays)

    async def handle(self, received: Received) -> Result:
        """Handle one message; on return the broker has confirmed everything that replaces it.

        Raises:
            ConnectionLost: nothing replaces it yet; the broker will deliver it again.

        """
        try:
            return await self._handle(received)
        except ConnectionLost:
            raise
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            return await self._last_resort(received, error)

    async def park(self, received: Received, *, seconds: float, reason: WaitReason = "pause") -> None:
        """Delay a message unhandled, for another message's sake. Raises ``ConnectionLost``."""
        try:
            await self._delays.park(received.original, Delay(received.parked(reason), seconds))
        except TooLarge as error:
            ids = self._parser.parse(received).ids
            self._report(await self._replacement.end_too_large(received, ids, error))

    async def _handle(self, received: Received) -> Result:
        parsed = self._parser.parse(received)
        with self._follow(parsed.ids, parsed.traceparent) as traceparent:
            if traceparent != parsed.state.traceparent:
                parsed = parsed._replace(state=parsed.state._replace(traceparent=traceparent))
            result = await self._route_unless_replaced(parsed) if isinstance(parsed, Job) else parsed
            result = await self._replacement.publish(result, redelivered=received.deliveries > 0)
            self._report(result)
        return result

    async def _route_unless_replaced(self, job: Job) -> Result:
        """End a copy quietly that was replaced; the ledger is asked only while there may be some."""
        if job.state.waits and self._services.control().replaced_until > self._services.clock():
            with suppress(LedgerUnavailable):
                if await self._is_replaced(job):
                    return results.replaced(job)
        return await self._route(job)

    async def _last_resort(self, received: Received, error: Exception) -> Result:
        """Dead-letter the body as it arrived. Nothing of the message is read: that may be what failed."""
        settings, now = self._services.settings, self._services.clock()
        headers = results.minimal_headers(results.bug(error, EventIds()), now=now, queue=settings.queue)
        await self._outbox.dead_letter(Message(received.original.body), headers)
        with suppress(Exception):
            await self._delays.forget(received.original, received.state)
        result = Result("failed", received.original, received.state, EventIds())
        self._report(result)
        return result

    def _report(self, result: Result) -> None:
        """Call the hook. An error of the hook must not have the message handled again."""
        try:
            self._notify(result)
        except Exception:
            log.exception(_BUG, extra={"action": "message.bug"})

    async def result(self, job: Job) -> Result:
        """Return the result in any case: a failing ledger fails the service, a bug this message alone."""
        limits = self._services.limits
        try:
            return await self._decide(job)
        except LedgerUnavailable as error:
            self._services.breaker.record_failure(ScopedFailure("service", f"ledger: {error}", why="ledger"))
            return results.delayed(job, "pause", limits.delay(0), recorded=False)
        except Exception as error:
            log.exception(_BUG, extra={"action": "message.bug"})
            attempted = job.attempted()
            if attempted.state.attempts < limits.max_attempts:
                return results.delayed(attempted, "retry", limits.delay(job.state.attempts))
            message = results.bug(error, job.ids).message
            return results.failed(attempted, Failure(category=Category.INVALID, code="bug", message=message))

    async def _decide(self, job: Job) -> Result:
        """Claim the snapshot's backup in the ledger, and act on the answer."""
        services = self._services
        if job.selected.skip:
            return results.skipped(job, job.selected.skip)
        if job.state.crashes >= services.settings.crash_limit:
            return await self._final_delivery(job)
        paused = services.control().paused(job.project_id) is not None
        if paused and _is_new(job):
            return self._paused(job)
        seconds = services.breaker.park(job.project_id)
        if seconds and (services.breaker.outage_left() or not self._is_too_old(job)):
            return results.delayed(job, "pause", seconds)
        claim = await services.ledger.claim(
            job.key,
            job.cause,
            replay=job.state.replay is not None,
            room=services.room(job),
            known=job.state.waits > 0,
        )
        if isinstance(claim, Full):
            return results.delayed(job.without_room(services.clock()), "room", claim.seconds)
        if paused and isinstance(claim, Granted) and not _is_tracked(job):
            await self._give_back(job.in_doubt(claim))
            return self._paused(job)
        ended = isinstance(claim, Finished) or (isinstance(claim, Created) and not _is_tracked(job))
        if ended and job.state.waits and await self._is_replaced(job):
            return results.replaced(job)
        return await self._act(job.with_room(services.clock()), claim)

    def _paused(self, job: Job) -> Result:
        """Delay the message while an operator has paused its project, or all of them."""
        seconds = paused_delay(job.state.waits, self._services.limits)
        return results.paused(job, seconds, now=self._services.clock())

    async def _give_back(self, claim: Granted) -> None:
        """Give a claim back before anything is sent; a doubt stays."""
        if claim.doubt:
            await self._services.ledger.doubt(claim, claim.doubt)
        else:
            await self._services.ledger.release(claim)

    async def _is_replaced(self, job: Job) -> bool:
        """Return whether an operator has brought back or cancelled the message while this copy waited."""
        waiting = waiting_id(job.original, job.state)
        return await self._services.ledger.is_replaced(waiting, job.state.waits)

    async def _act(self, job: Job, claim: Granted | Busy | Created | Finished) -> Result:
        """Act on what the ledger has answered."""
        services = self._services
        match claim:
            case Finished():
                return results.finished(job, claim)
            case Created() if job.state.reason == "track":
                return await self._tracking.recorded(job, claim)
            case Created():
                return self._tracking.accepted(job, claim.backup, made_at=claim.made_at, found=False)
            case Busy():
                return results.delayed(job, "retry", claim.until - services.clock())
            case Granted() if job.state.reason == "track" and job.state.backup_id:
                return await self._track_unrecorded(job, claim, job.state.backup_id)
            case Granted():
                return await self._create_or_abandon(job, job.in_doubt(claim))
            case _:
                assert_never(claim)

    def _is_too_old(self, job: Job) -> bool:
        """Such a message is not parked for its project: it ends where its call is held for long, or fails."""
        return job.state.age(self._services.clock()) >= self._services.limits.max_age

    async def _final_delivery(self, job: Job) -> Result:
        """Publish the known state, start no work: RabbitMQ would dead-letter the next delivery silently."""
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

    async def _create_or_abandon(self, job: Job, claim: Granted) -> Result:
        """If handling fails, stop renewing the lease, so that another worker can claim the snapshot."""
        try:
            return await self._create(job, claim)
        except BaseException:
            self._services.ledger.abandon(claim)
            raise

    async def _create(self, job: Job, claim: Granted) -> Result:
        """Create the backup; look it up first wherever it may exist already."""
        services = self._services
        if self._lookup.precedes_request(claim) and (seconds := services.breaker.hold("create")):
            return await self._lookup.unknown(job, claim, held("create", seconds), "create")
        if job.event.proves == "requested":
            complete = await self._lookup.for_snapshot(job, claim)
            if isinstance(complete, Result):
                return complete
            job = complete
        found = await self._lookup.for_backup(job, claim) if claim.doubt or claim.ask_first else None
        if isinstance(found, Result):
            return found
        if found:
            await services.ledger.created(claim, found)
            return self._tracking.accepted(job, found, made_at=services.clock(), found=True)
        if job.selected.skip:
            return await services.skip(job, claim, job.selected.skip)
        planned = await self._incremental.plan(job, claim)
        if isinstance(planned, Result):
            return planned
        return await self._send(job, claim, planned)

    async def _send(self, job: Job, claim: Granted, planned: Planned) -> Result:
        """Send the request, and record the backup."""
        services = self._services
        if not await services.ledger.holds(claim):
            await services.ledger.release(claim)
            return results.delayed(job, "retry", services.limits.delay(0))
        try:
            services.admit(job, "create")
            backup = await services.api.create(job.project_id, planned.request)
        except ApiError as error:
            if self._incremental.becomes_full(job, planned, error):
                return await self._send_full(job, claim, planned)
            return await self._not_created(job, claim, error)
        services.succeeded(job, "create", made=True)
        await services.ledger.created(claim, backup)
        return self._tracking.accepted(job.attempted(), backup, made_at=services.clock(), found=False)

    async def _send_full(self, job: Job, claim: Granted, planned: Planned) -> Result:
        """Send a full backup's request in place of a refused one; look up first, as after every refusal."""
        services = self._services
        services.succeeded(job, "create")
        job, claim = job.without_doubt(), claim._replace(doubt=None, sent=True)
        found = await self._lookup.for_backup(job, claim)
        if isinstance(found, Result):
            return found
        if found:
            await services.ledger.created(claim, found)
            return self._tracking.accepted(job, found, made_at=services.clock(), found=True)
        return await self._send(job, claim, planned.full())

    async def _not_created(self, job: Job, claim: Granted, error: ApiError) -> Result:
        """Act on the policy's decision about a call that gave no backup."""
        services = self._services
        if isinstance(error, CallHeld):
            return await self._lookup.unknown(job, claim, error, "create")
        last_try = claim.doubt.since if claim.doubt else None
        decision = await services.classify(job, error, "create", last_try=last_try)
        claim = claim._replace(sent=claim.sent or error.sent)
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
        """Track a backup that the ledger has forgotten, or never knew: the message names it."""
        await self._services.ledger.release(claim)
        return await self._tracking.unrecorded(job, backup_id)


def _is_new(job: Job) -> bool:
    """Return whether nothing was begun for the message, or it waits for the end of a pause."""
    return job.state.reason == "paused" or not (job.state.waits or job.state.crashes)


def _is_tracked(job: Job) -> bool:
    return job.state.reason == "track" and job.state.backup_id is not None


def _poison(crashes: int) -> Failure:
    """Whether the request left is not known, so a replay looks up the backup first."""
    message = f"{crashes} processes or connections ended with this message in hand"
    return Failure(category=Category.INVALID, code="poison", message=message)
