"""Lookups before a request: does the backup exist already, and is the snapshot complete?

A call in doubt may have worked. Its backup is looked up several times with growing delays, because a slow
server may commit late; only then a second request is sent. A lookup that fails proves nothing: absent and
unknown are two answers.
"""

import logging
from collections.abc import Callable, Sequence

from events.errors import InvalidEvent
from events.message import WaitReason
from events.outcome import AcceptedBackup, Category, Failure
from handler.backup import result as results
from handler.backup.evidence import Route
from handler.backup.hooks import SecondBackup
from handler.backup.policy import Decision, absence_is_certain
from handler.backup.ports import Backup, Doubt, Granted, Snapshot
from handler.backup.result import Job, Result
from handler.backup.services import Services
from handler.errors import ApiError

log = logging.getLogger(__name__)

_COMPLETE = frozenset({"available", "backing-up"})
_GOING = frozenset({"deleting", "deleted"})


class Lookup:
    """Looks up, and returns what follows: a found backup, a result, or None if the request may be sent.

    ``select`` selects a job again by what the API shows of its snapshot (``Parser.selected_again``).
    """

    def __init__(self, services: Services, select: Callable[[Job, Snapshot], Job]) -> None:
        self.services = services
        self._select = select

    async def for_backup(self, job: Job, claim: Granted) -> AcceptedBackup | Result | None:
        """Look up a backup that may exist already. None: there is none, and a request may be sent."""
        doubt, now = claim.doubt, self.services.clock()
        if doubt and now < doubt.lookup_after:
            await self.services.ledger.doubt(claim, doubt)
            return results.look_up_later(job, doubt, doubt.lookup_after - now)
        wanted = job.request
        try:
            self.services.admit(job, "list")
            found = await self.services.api.find(
                job.project_id, wanted.volume_id, wanted.snapshot_id, wanted.name
            )
        except ApiError as error:
            return await self.unknown(job, claim, error, "list")
        backup = self._best([each for each in found if not _is_failed(each, claim)], job)
        self.services.succeeded(job, "list", made=backup is not None and doubt is not None)
        if backup:
            return AcceptedBackup(id=backup.id, name=backup.detail.name)
        if doubt is None or self.precedes_request(claim):
            return None
        return await self._again(job, claim, doubt)

    def _best(self, found: Sequence[Backup], job: Job) -> Backup | None:
        """Return the oldest backup that is not in error, or else one in error."""
        sound = [backup for backup in found if not backup.status.startswith("error")]
        if len(sound) > 1:
            ids = tuple(backup.id for backup in sound)
            log.error(
                "snapshot %s has %d backups: %s",
                job.request.snapshot_id,
                len(sound),
                ", ".join(ids),
                extra={"action": "backup.second", "snapshot_id": job.request.snapshot_id},
            )
            self.services.second(SecondBackup(job.request.snapshot_id, ids))
        return next(iter(sound or found), None)

    async def for_snapshot(self, job: Job, claim: Granted) -> Job | Result:
        """Look up a snapshot that was only requested, and return its job, selected again, if it is complete.

        A snapshot that is to be skipped by its name or metadata, which the event may lack, ends the event. If
        a request may have left before, its backup is looked up first.
        """
        try:
            self.services.admit(job, "snapshot")
            snapshot = await self.services.api.show_snapshot(job.project_id, job.request.snapshot_id)
        except ApiError as error:
            return await self.unknown(job, claim, error, "snapshot")
        self.services.succeeded(job, "snapshot")
        if snapshot is not None:
            try:
                job = self._select(job, snapshot)
            except InvalidEvent as error:
                return await self.services.fail(job, claim, results.invalid(error))
            if job.selected.skip and not claim.doubt:
                return await self.services.skip(job, claim, job.selected.skip)
            if snapshot.status in _COMPLETE:
                return job
        now = self.services.clock()
        job = job._replace(state=job.state.seen() if snapshot else job.state.missed(now))
        if failure := self._never_complete(snapshot.status if snapshot else None, job):
            return await self.services.fail(job, claim, failure)
        await self.services.ledger.release(claim)
        return results.delayed(job, "check", self.services.limits.delay(job.state.waits))

    def _never_complete(self, status: str | None, job: Job) -> Failure | None:
        state, now = job.state, self.services.clock()
        if status is None:
            seconds = now - (state.absent_since or now)
            if absence_is_certain(lookups=state.absences, seconds=seconds, limits=self.services.limits):
                return Failure(category=Category.NOT_FOUND, message="the API knows no such snapshot")
            return None
        if status.startswith("error") or status in _GOING:
            return Failure(category=Category.REFUSED, message=f"the snapshot is in status {status}")
        if state.age(now) > self.services.limits.max_age:
            message = f"the snapshot is still {status} after MAX_AGE"
            return Failure(category=Category.EXPIRED, message=message)
        return None

    async def _again(self, job: Job, claim: Granted, doubt: Doubt) -> Result:
        """Not found yet; look up again later."""
        seconds = self.services.limits.delay(doubt.lookups + 1)
        later = Doubt(doubt.since, doubt.lookups + 1, self.services.clock() + seconds)
        await self.services.ledger.doubt(claim, later)
        return results.look_up_later(job, later, seconds)

    def precedes_request(self, claim: Granted) -> bool:
        """Return whether a request may follow the next lookup, if that finds nothing."""
        doubt = claim.doubt
        return doubt is None or absence_is_certain(
            lookups=doubt.lookups + 1,
            seconds=self.services.clock() - doubt.since,
            limits=self.services.limits,
        )

    async def unknown(self, job: Job, claim: Granted, error: ApiError, route: Route) -> Result:
        """Act on a lookup that failed, or was not made: the backup may exist, so nothing may be sent."""
        decision = await self.services.classify(job, error, route)
        job = job.attempted() if decision.counted else job
        if decision.action == "fail":
            category = Category.IN_DOUBT if claim.doubt else decision.category
            return await self.services.fail(job, claim, results.failure(error, category))
        if claim.doubt:
            await self.services.ledger.doubt(claim, claim.doubt)
            return results.look_up_later(job, claim.doubt, decision.seconds)
        await self.services.ledger.release(claim)
        return results.delayed(job, wait_reason(decision), decision.seconds)


def wait_reason(decision: Decision) -> WaitReason:
    """Return the word for why a message waits after a failure."""
    return "retry" if decision.scope == "message" else "pause"


def _is_failed(backup: Backup, claim: Granted) -> bool:
    """Whether a backup is one of those known to have ended in error, and still is in error."""
    return backup.id in claim.failed_backups and backup.status.startswith("error")
