"""After the 202: follow a backup to its end, since no notification tells of one that fails later.

The message goes through the wait queues and comes back to ask, so that a watch survives restarts and costs
nothing meanwhile.
"""

from dataclasses import replace

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup import result as replies
from handler.backup.policy import absence_is_certain, watch_delay
from handler.backup.ports import Backup, Ended
from handler.backup.result import Case, Reply
from handler.backup.services import Tools
from handler.errors import ApiError

_GONE = "the backup is gone: {} lookups in {:.0f} s did not find it"


class Watching:
    """Tells that a backup is being made, and how it ended."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    def accepted(self, case: Case, backup: AcceptedBackup, *, made_at: float, found: bool) -> Reply:
        """Tell that the backup is being made, and watch it to its end where that is wanted."""
        reply = replies.accepted(case, backup, found=found)
        if not self.tools.terms.track_backups:
            return reply
        seconds = watch_delay(age=self.tools.clock() - made_at, size_gb=case.event.snapshot.size_gb)
        return replies.watched(reply, case, backup.id, accepted_at=made_at, seconds=seconds)

    async def watch(self, case: Case, backup_id: str, *, accepted_at: float) -> Reply:
        """Ask how the backup is; an unknown status, or one lookup that does not find it, means «not yet»."""
        age = max(0.0, self.tools.clock() - accepted_at)
        try:
            backup = await self.tools.api.show(case.project_id, backup_id)
        except ApiError as error:
            seconds = max(self.tools.judge(case, error).seconds, self.tools.limits.rung(0))
            return self._watch_on(case, backup_id, accepted_at, seconds)
        self.tools.breaker.record_success()
        if backup is None or backup.status == "deleted":
            return await self._missed(case, backup_id, accepted_at)
        case = case._replace(state=case.state.seen())
        if end := _end(backup, age, deadline=self.tools.terms.track_deadline):
            return await self._ended(case, backup_id, end)
        size = case.event.snapshot.size_gb or backup.detail.size
        return self._watch_on(case, backup_id, accepted_at, watch_delay(age=age, size_gb=size))

    async def _missed(self, case: Case, backup_id: str, accepted_at: float) -> Reply:
        """Look again later for a backup that the API has accepted and does not find; fail once it is certain.

        The first lookup after the call may reach a node of the API that does not know the backup yet. If it
        were a failure, a replay would make a second backup.
        """
        now, limits = self.tools.clock(), self.tools.limits
        case = case._replace(state=case.state.missed(now))
        since = case.state.absent_since or now
        if absence_is_certain(lookups=case.state.absences, seconds=now - since, limits=limits):
            return await self._ended(
                case, backup_id, _spoiled(_GONE.format(case.state.absences, now - since))
            )
        return self._watch_on(case, backup_id, accepted_at, limits.rung(case.state.absences))

    async def _ended(self, case: Case, backup_id: str, end: Ended) -> Reply:
        end = replace(end, attempts=case.state.attempts)
        await self.tools.ledger.ended(case.key, end, backup_id=backup_id, cause=case.cause)
        return replies.ended(case, end)

    def _watch_on(self, case: Case, backup_id: str, accepted_at: float, seconds: float) -> Reply:
        return replies.watched(Reply("waiting"), case, backup_id, accepted_at=accepted_at, seconds=seconds)


def _end(backup: Backup, age: float, *, deadline: float) -> Ended | None:
    """Tell whether the backup has come to its end, and which."""
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
