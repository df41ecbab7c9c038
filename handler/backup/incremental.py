"""``incremental = "auto"``: whether a backup builds on an earlier one, and what follows if it cannot.

Cinder decides on the parent. If it refuses an incremental backup for its parent, a full one follows
at once, after a lookup as after every refusal: the answer may have been falsified on its way.
"""

from typing import NamedTuple

from handler.backup.lookup import Lookup
from handler.backup.ports import Chain, Granted
from handler.backup.request import BackupRequest
from handler.backup.result import Job, Result
from handler.backup.services import Services
from handler.errors import ApiError


class Planned(NamedTuple):
    """A request to send. ``may_become_full``: a full backup may follow if this incremental one is refused.

    ``parent_coming``: the volume has a backup in progress, which may become the parent.
    """

    request: BackupRequest
    may_become_full: bool = False
    parent_coming: bool = False

    def full(self) -> "Planned":
        """Return the request for a full backup instead."""
        return Planned(self.request.model_copy(update={"incremental": False}))


class Incremental:
    """Plans a request by the backups that the volume has."""

    def __init__(self, services: Services, lookup: Lookup) -> None:
        self._services = services
        self._lookup = lookup

    async def plan(self, job: Job, claim: Granted) -> Planned | Result:
        """Return the request to send, or a result if the lookup fails."""
        planned = Planned(job.request)
        if not job.selected.incremental_if_possible:
            return planned
        if claim.failed_backups:
            return planned.full()
        try:
            self._services.admit(job, "list")
            chain = await self._services.api.chain(job.project_id, job.request.volume_id)
        except ApiError as error:
            return await self._lookup.unknown(job, claim, error, "list")
        self._services.succeeded(job, "list")
        if not _continues(chain, job):
            return planned.full()
        request = job.request.model_copy(update={"incremental": True})
        return Planned(request, may_become_full=True, parent_coming=chain.in_progress)

    def becomes_full(self, job: Job, planned: Planned, error: ApiError) -> bool:
        """Return whether a full backup follows a refusal at once.

        A parent that is in progress is waited for, as Cinder's text asks, while attempts are left.
        """
        if not planned.may_become_full or error.parent is None:
            return False
        last = job.state.attempts + 1 >= self._services.limits.max_attempts
        return error.parent == "missing" or last or not planned.parent_coming


def _continues(chain: Chain, job: Job) -> bool:
    """Return whether an incremental backup may be added to the chain.

    Cinder's drivers fail an incremental backup of a volume that has grown since its parent.
    """
    every, size = job.selected.full_every, job.event.snapshot.size_gb
    if not chain.length or (every is not None and chain.length >= every):
        return False
    return size is None or chain.size is None or size <= chain.size
