"""After the 202: follow a backup to its end, since no notification tells of one that fails later.

The message goes through the wait queues and comes back to ask, so that a watch survives restarts and costs
nothing meanwhile.
"""

from dataclasses import replace

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup import result as results
from handler.backup.policy import absence_is_certain, tracking_delay
from handler.backup.ports import Backup, Finished
from handler.backup.result import Job, Result
from handler.backup.services import Services
from handler.errors import ApiError

_GONE = "the backup is gone: {} lookups in {:.0f} s did not find it"


class Tracking:
    """Tells that a backup is being made, and how it ended."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def accepted(self, job: Job, backup: AcceptedBackup, *, made_at: float, found: bool) -> Result:
        """Tell that the backup is being made, and watch it to its end where that is wanted."""
        result = results.accepted(job, backup, found=found)
        if not self.services.settings.track_backups:
            return result
        seconds = tracking_delay(age=self.services.clock() - made_at, size_gb=job.event.snapshot.size_gb)
        return results.tracked(result, job, backup.id, accepted_at=made_at, seconds=seconds)

    async def track(self, job: Job, backup_id: str, *, accepted_at: float) -> Result:
        """Ask how the backup is; an unknown status, or one lookup that does not find it, means «not yet»."""
        age = max(0.0, self.services.clock() - accepted_at)
        try:
            backup = await self.services.api.show(job.project_id, backup_id)
        except ApiError as error:
            seconds = max(self.services.classify(job, error).seconds, self.services.limits.delay(0))
            return self._track_on(job, backup_id, accepted_at, seconds)
        self.services.breaker.record_success()
        if backup is None or backup.status == "deleted":
            return await self._missed(job, backup_id, accepted_at)
        job = job._replace(state=job.state.seen())
        if end := _end(backup, age, deadline=self.services.settings.track_deadline):
            return await self._ended(job, backup_id, end)
        size = job.event.snapshot.size_gb or backup.detail.size
        return self._track_on(job, backup_id, accepted_at, tracking_delay(age=age, size_gb=size))

    async def _missed(self, job: Job, backup_id: str, accepted_at: float) -> Result:
        """Look again later for a backup that the API has accepted and does not find; fail once it is certain.

        The first lookup after the call may reach a node of the API that does not know the backup yet. If it
        were a failure, a replay would make a second backup.
        """
        now, limits = self.services.clock(), self.services.limits
        job = job._replace(state=job.state.missed(now))
        since = job.state.absent_since or now
        if absence_is_certain(lookups=job.state.absences, seconds=now - since, limits=limits):
            return await self._ended(
                job, backup_id, _backup_error(_GONE.format(job.state.absences, now - since))
            )
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
    """Tell whether the backup has come to its end, and which."""
    if backup.status == "available":
        return Finished(backup=backup.detail, seconds=round(age, 3))
    if backup.status.startswith("error"):
        return _backup_error(backup.fail_reason or f"the backup is in status {backup.status}")
    if age > deadline:
        message = f"the backup is still {backup.status} after TRACK_DEADLINE ({deadline:g} s)"
        return Finished(failure=Failure(category=Category.EXPIRED, message=message))
    return None


def _backup_error(message: str) -> Finished:
    return Finished(failure=Failure(category=Category.BACKUP_ERROR, message=results.truncate(message)))
