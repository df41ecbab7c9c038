"""Tracking: follows a backup to its end after the 202, since no notification reports a later failure.

The message goes through the wait queues, and each return looks the backup up. So tracking survives restarts
and costs nothing in between.
"""

from dataclasses import replace

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup import result as results
from handler.backup.policy import absence_is_certain, tracking_delay
from handler.backup.ports import Backup, Created, Doubt, Finished
from handler.backup.result import Job, Result
from handler.backup.services import Services
from handler.errors import ApiError

_GONE = "the backup is gone: {} lookups in {:.0f} s did not find it"
_OTHERS = "the API shows another snapshot's backup under this id: {} lookups in {:.0f} s did not find ours"


class Tracking:
    """Returns the results of accepted backups, and of their ends."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def accepted(self, job: Job, backup: AcceptedBackup, *, made_at: float, found: bool) -> Result:
        """Publish that the backup is accepted, and track it to its end if ``TRACK_BACKUPS`` says so."""
        result = results.accepted(job, backup, found=found)
        if not self.services.settings.track_backups:
            return result
        seconds = self._delay(job, age=self.services.clock() - made_at, size_gb=job.event.snapshot.size_gb)
        return results.tracked(result, job, backup.id, accepted_at=made_at, seconds=seconds)

    async def recorded(self, job: Job, created: Created) -> Result:
        """Track the backup that the ledger knows."""
        return await self._track(job, created.backup.id, created.made_at, recorded=True)

    async def unrecorded(self, job: Job, backup_id: str) -> Result:
        """Track a backup that only the message names."""
        accepted_at = job.state.accepted_at or job.state.first_seen
        return await self._track(job, backup_id, accepted_at, recorded=False)

    async def _track(self, job: Job, backup_id: str, accepted_at: float, *, recorded: bool) -> Result:
        """Look the backup up. An unknown status, or one lookup that does not find it, means: not yet."""
        age = max(0.0, self.services.clock() - accepted_at)
        try:
            self.services.admit(job, "show")
            backup = await self.services.api.show(job.project_id, backup_id)
        except ApiError as error:
            return await self._unknown(job, backup_id, accepted_at, error)
        self.services.succeeded(job, "show")
        if backup is None or backup.status == "deleted":
            return await self._missed(job, backup_id, accepted_at, _GONE)
        if not _belongs(backup, job, recorded=recorded):
            if recorded:
                return await self._missed(job, backup_id, accepted_at, _OTHERS)
            return self._look_up(job)
        job = job._replace(state=job.state.seen())
        if end := _end(backup, age, deadline=self.services.settings.track_deadline):
            return await self._ended(job, backup_id, end)
        size = job.event.snapshot.size_gb or backup.detail.size
        return self._track_on(job, backup_id, accepted_at, self._delay(job, age=age, size_gb=size))

    def _delay(self, job: Job, *, age: float, size_gb: int | None) -> float:
        """Return the seconds until the next lookup.

        Where the backups in progress are limited, others wait for this one's end: then the delay is rounded
        down to one of ``WAIT_LADDER``, not up.
        """
        seconds, delays = tracking_delay(age=age, size_gb=size_gb), self.services.limits.delays
        if not job.selected.limits:
            return seconds
        return max((delay for delay in delays if delay <= seconds), default=delays[0])

    async def _unknown(self, job: Job, backup_id: str, accepted_at: float, error: ApiError) -> Result:
        """Act on a lookup that failed: look up again later, until ``TRACK_DEADLINE``, whatever the error."""
        decision = await self.services.classify(job, error, "show")
        if self._is_late(accepted_at):
            return await self._ended(job, backup_id, self._expired(f"not known: {error}"))
        seconds = max(decision.seconds, self.services.limits.delay(0))
        return self._track_on(job, backup_id, accepted_at, seconds)

    def _look_up(self, job: Job) -> Result:
        """Drop a backup of another snapshot from the state; look ours up before creating it."""
        now, seconds = self.services.clock(), self.services.limits.delay(0)
        state = job.state.seen()._replace(reason="lookup", backup_id=None, accepted_at=None)
        doubt = Doubt(since=now, lookups=0, lookup_after=now + seconds)
        return results.look_up_later(job._replace(state=state), doubt, seconds)

    def _is_late(self, accepted_at: float) -> bool:
        return self.services.clock() - accepted_at > self.services.settings.track_deadline

    def _expired(self, status: str) -> Finished:
        return _expired(status, self.services.settings.track_deadline)

    async def _missed(self, job: Job, backup_id: str, accepted_at: float, reason: str) -> Result:
        """Look up again later a backup that the API accepted and does not find; fail once it is certain.

        The first lookup after the call may reach a node of the API that does not know the backup yet. If it
        were a failure, a replay would make a second backup.
        """
        now, limits = self.services.clock(), self.services.limits
        job = job._replace(state=job.state.missed(now))
        since = job.state.absent_since or now
        if absence_is_certain(lookups=job.state.absences, seconds=now - since, limits=limits):
            return await self._ended(
                job, backup_id, _backup_error(reason.format(job.state.absences, now - since))
            )
        if self._is_late(accepted_at):
            return await self._ended(job, backup_id, self._expired("not found"))
        return self._track_on(job, backup_id, accepted_at, limits.delay(job.state.absences))

    async def _ended(self, job: Job, backup_id: str, end: Finished) -> Result:
        end = replace(end, attempts=job.state.attempts)
        await self.services.ledger.finished(job.key, end, backup_id=backup_id, cause=job.cause)
        return results.finished(job, end)

    def _track_on(self, job: Job, backup_id: str, accepted_at: float, seconds: float) -> Result:
        return results.tracked(
            job.result("waiting"), job, backup_id, accepted_at=accepted_at, seconds=seconds
        )


def _end(backup: Backup, age: float, *, deadline: float) -> Finished | None:
    """Return the end of the backup, or None."""
    if backup.status == "available":
        return Finished(backup=backup.detail, seconds=round(age, 3))
    if backup.status.startswith("error"):
        return _backup_error(backup.fail_reason or f"the backup is in status {backup.status}")
    if age > deadline:
        return _expired(backup.status, deadline)
    return None


def _expired(status: str, deadline: float) -> Finished:
    message = results.truncate(f"the backup is still {status} after TRACK_DEADLINE ({deadline:g} s)")
    return Finished(failure=Failure(category=Category.EXPIRED, message=message))


def _belongs(backup: Backup, job: Job, *, recorded: bool) -> bool:
    """Return whether the backup is of this snapshot: by the ids that the API shows, else by its name.

    The name proves it for a backup that only the message names. For one that the ledger has recorded the name
    may differ, since rules that name backups may have changed.
    """
    request = job.request
    if backup.volume_id is not None and not _same(backup.volume_id, request.volume_id):
        return False
    if backup.snapshot_id is not None:
        return _same(backup.snapshot_id, request.snapshot_id)
    return recorded or backup.detail.name == request.name


def _same(one: str, other: str) -> bool:
    """Compare two ids, which some releases show without dashes."""
    return one.replace("-", "").lower() == other.replace("-", "").lower()


def _backup_error(message: str) -> Finished:
    return Finished(failure=Failure(category=Category.BACKUP_ERROR, message=results.truncate(message)))
