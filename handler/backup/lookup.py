"""Before a request leaves: does the backup exist already, and is the snapshot complete?

A call in doubt may have worked. It is looked for several times with growing waits, because a slow server
may commit late; only then is it sent again. A look-up that fails says nothing: absent and unknown are two
answers.
"""

import logging
from collections.abc import Sequence

from events.message import WaitReason
from events.outcome import AcceptedBackup, Category, Failure
from handler.backup import result as replies
from handler.backup.policy import Decision, absence_is_certain
from handler.backup.ports import Backup, Doubt, Ours
from handler.backup.request import BackupRequest
from handler.backup.result import Case, Reply
from handler.backup.services import Tools
from handler.errors import ApiError

log = logging.getLogger(__name__)

_COMPLETE = frozenset({"available", "backing-up"})


class Looking:
    """Looks, and says what follows: a found backup, a reply, or None where nothing stands in the way."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    async def for_backup(self, case: Case, claim: Ours) -> AcceptedBackup | Reply | None:
        """Look for a backup that may exist already. None means: there is none, and it may be sent (again)."""
        doubt, now = claim.doubt, self.tools.clock()
        if doubt and now < doubt.look_after:
            await self.tools.ledger.doubt(claim, doubt)
            return replies.looks_later(case, doubt, doubt.look_after - now)
        wanted = case.request
        try:
            found = await self.tools.api.find(
                case.project_id, wanted.volume_id, wanted.snapshot_id, wanted.name
            )
        except ApiError as error:
            return await self._unknown(case, claim, error)
        self.tools.breaker.record_success()
        if backup := _best([each for each in found if not _is_spoiled(each, claim)], case):
            return AcceptedBackup(id=backup.id, name=backup.detail.name)
        if doubt is None or absence_is_certain(
            lookups=doubt.looks + 1, seconds=now - doubt.since, limits=self.tools.limits
        ):
            return None
        return await self._again(case, claim, doubt)

    async def for_snapshot(self, case: Case, claim: Ours) -> Reply | None:
        """Ask whether a snapshot that was only requested is complete. None means: it is."""
        try:
            snapshot = await self.tools.api.show_snapshot(case.project_id, case.request.snapshot_id)
        except ApiError as error:
            return await self._unknown(case, claim, error)
        self.tools.breaker.record_success()
        if snapshot is not None and snapshot.status in _COMPLETE:
            return None
        now = self.tools.clock()
        case = case._replace(state=case.state.seen() if snapshot else case.state.missed(now))
        if failure := self._never_complete(snapshot.status if snapshot else None, case):
            return await self.tools.fail(case, claim, failure)
        await self.tools.ledger.release(claim)
        return replies.waits(case, "check", self.tools.limits.rung(case.state.waits))

    async def for_parent(self, case: Case, claim: Ours) -> BackupRequest | Reply:
        """Return the request to send: incremental where that was left to the backups that there are."""
        if not case.choice.incremental_if_possible:
            return case.request
        try:
            full = await self.tools.api.has_full_backup(case.project_id, case.request.volume_id)
        except ApiError as error:
            return await self._unknown(case, claim, error)
        return case.request.model_copy(update={"incremental": full})

    def _never_complete(self, status: str | None, case: Case) -> Failure | None:
        state, now = case.state, self.tools.clock()
        if status is None:
            seconds = now - (state.absent_since or now)
            if absence_is_certain(lookups=state.absences, seconds=seconds, limits=self.tools.limits):
                return Failure(category=Category.NOT_FOUND, message="the API knows no such snapshot")
            return None
        if status.startswith("error") or status == "deleting":
            return Failure(category=Category.REFUSED, message=f"the snapshot is in status {status}")
        if now - state.first_seen > self.tools.limits.max_age:
            message = f"the snapshot is still {status} after MAX_AGE"
            return Failure(category=Category.EXPIRED, message=message)
        return None

    async def _again(self, case: Case, claim: Ours, doubt: Doubt) -> Reply:
        """One absence more, which proves little yet: look again after a longer wait."""
        seconds = self.tools.limits.rung(doubt.looks + 1)
        later = Doubt(doubt.since, doubt.looks + 1, self.tools.clock() + seconds)
        await self.tools.ledger.doubt(claim, later)
        return replies.looks_later(case, later, seconds)

    async def _unknown(self, case: Case, claim: Ours, error: ApiError) -> Reply:
        """Act on a lookup that failed: the backup may exist, so nothing may be sent."""
        decision = self.tools.judge(case, error)
        case = case.tried() if decision.counted else case
        if decision.action == "fail":
            category = Category.IN_DOUBT if claim.doubt else decision.category
            return await self.tools.fail(case, claim, replies.failure(error, category))
        if claim.doubt:
            await self.tools.ledger.doubt(claim, claim.doubt)
            return replies.looks_later(case, claim.doubt, decision.seconds)
        await self.tools.ledger.release(claim)
        return replies.waits(case, wait_reason(decision), decision.seconds)


def wait_reason(decision: Decision) -> WaitReason:
    """Return the word for why a message waits after a failure."""
    return "retry" if decision.scope == "message" else "pause"


def _is_spoiled(backup: Backup, claim: Ours) -> bool:
    """Whether a backup is one of those known to have ended in error, and still is in error."""
    return backup.id in claim.spoiled and backup.status.startswith("error")


def _best(found: Sequence[Backup], case: Case) -> Backup | None:
    """The oldest that is not in error; one in error only where there is no other."""
    sound = [backup for backup in found if not backup.status.startswith("error")]
    if len(sound) > 1:
        ids = ", ".join(backup.id for backup in sound)
        log.error(
            "snapshot %s has %d backups: %s",
            case.request.snapshot_id,
            len(sound),
            ids,
            extra={"action": "backup.second", "snapshot_id": case.request.snapshot_id},
        )
    return next(iter(sound or found), None)
