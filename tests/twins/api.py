"""``MemoryApi``: the VBS API in memory, for tests of message handling and of the policy.

Like the real API it does not deduplicate: two creates make two backups. Faults are queued per call, and each
is used once. The given clock decides when backups settle and late commits appear.
"""

import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from events.outcome import AcceptedBackup, BackupLink, Category, CompletedBackup
from handler.backup.ports import Backup, Chain, Snapshot
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.vbs.chain import chain

Call = Literal["create", "check", "find", "show", "show_snapshot"]


@dataclass(frozen=True)
class CutBefore:
    """The connection is lost before the work is done: the call is in doubt, and there is no backup."""


@dataclass(frozen=True)
class CutAfter:
    """The work is done and the answer is lost: the call is in doubt, and the backup exists."""


@dataclass(frozen=True)
class LateCommit:
    """The call is in doubt, and the backup appears ``seconds`` later."""

    seconds: float


@dataclass(frozen=True)
class Absent:
    """The lookup is answered by a node that lags behind, and does not find a recent backup."""


@dataclass(frozen=True)
class DoneThen:
    """The backup is made, and something on the way answers with an error instead."""

    error: ApiError


Fault = DoneThen | ApiError | CutBefore | CutAfter | LateCommit | Absent
Rule = Callable[[Call, str, str], Fault | None]
"""Returns the fault of a call, by its kind, its project, and its snapshot or else an empty text."""


@dataclass
class Made:
    """A backup that was made ``at`` a time of the clock; ``end`` is its final status."""

    id: str
    project_id: str
    request: BackupRequest
    at: float
    end: str = "available"
    fail_reason: str | None = None


@dataclass
class MemoryApi:
    """``handler.backup.ports.Api`` in memory.

    ``backups`` has every backup ever made, also those of late commits; ``calls`` counts calls, and
    ``log`` has the time, kind and project of each. ``rule`` gives the faults of calls for which none is
    queued. A backup is ``creating`` until ``settle`` seconds after it was made, and those in ``stuck``
    stay so. ``snapshots`` has the snapshots that exist. With ``hide_snapshot_ids`` backups are found by
    name only, as on releases that omit its id.
    """

    clock: Callable[[], float]
    settle: float = 0.0
    backups: list[Made] = field(default_factory=list)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    hide_snapshot_ids: bool = False
    calls: dict[Call, int] = field(default_factory=lambda: defaultdict(int))
    ends: deque[tuple[str, str | None]] = field(default_factory=deque)
    stuck: set[str] = field(default_factory=set)
    closed: bool = False
    rule: Rule = lambda _call, _project_id, _snapshot_id: None
    log: list[tuple[float, Call, str]] = field(default_factory=list)
    _faults: dict[Call, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))

    def fail(self, call: Call, *faults: Fault) -> None:
        """Queue faults for the next calls of this kind, one for each call."""
        self._faults[call].extend(faults)

    def fail_no_more(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def end_in_error(self, reason: str) -> None:
        """Make the next backup end in ``error``."""
        self.ends.append(("error", reason))

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """Make a backup, even if the snapshot has one."""
        fault = self._next_fault("create", project_id, request.snapshot_id)
        match fault:
            case ApiError():
                raise fault
            case DoneThen():
                self._make(project_id, request, at=self.clock())
                raise fault.error
            case CutBefore():
                raise _in_doubt()
            case CutAfter():
                self._make(project_id, request, at=self.clock())
                raise _in_doubt()
            case LateCommit():
                self._make(project_id, request, at=self.clock() + fault.seconds)
                raise _in_doubt()
        made = self._make(project_id, request, at=self.clock())
        href = f"http://api.invalid/v2/{project_id}/backups/{made.id}"
        return AcceptedBackup(id=made.id, name=request.name, links=(BackupLink(href=href, rel="self"),))

    async def check(self, project_id: str) -> None:
        """See ``Api.check``."""
        self._known("check", project_id)

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        """Return the snapshot's backups that have been committed by now, oldest first."""
        found = [
            made
            for made in self._known("find", project_id)
            if made.request.volume_id == volume_id and self._matches(made, snapshot_id, name)
        ]
        return [self._shown(made) for made in sorted(found, key=lambda made: made.at)]

    async def chain(self, project_id: str, volume_id: str) -> Chain:
        """See ``Api.chain``."""
        return chain(map(self._shown, self._known("find", project_id)), volume_id)

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        """Return a backup that has been committed by now."""
        shown = [self._shown(made) for made in self._known("show", project_id) if made.id == backup_id]
        return shown[0] if shown else None

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Return the snapshot if the test has added it to ``snapshots``."""
        knows = self._knows("show_snapshot", project_id, snapshot_id)
        return self.snapshots.get(snapshot_id) if knows else None

    async def aclose(self) -> None:
        """Set ``closed``."""
        self.closed = True

    def _next_fault(self, call: Call, project_id: str, snapshot_id: str = "") -> Fault | None:
        self.calls[call] += 1
        self.log.append((self.clock(), call, project_id))
        waiting = self._faults[call]
        return waiting.popleft() if waiting else self.rule(call, project_id, snapshot_id)

    def _known(self, call: Call, project_id: str) -> list[Made]:
        return self._visible(project_id) if self._knows(call, project_id) else []

    def _knows(self, call: Call, project_id: str, snapshot_id: str = "") -> bool:
        """Use the next fault of a lookup; return whether the node that answers is up to date."""
        fault = self._next_fault(call, project_id, snapshot_id)
        if isinstance(fault, ApiError):
            raise fault
        if fault is not None and not isinstance(fault, Absent):
            raise ApiError(Category.UNAVAILABLE, "no answer: the connection was cut")
        return fault is None

    def _make(self, project_id: str, request: BackupRequest, *, at: float) -> Made:
        end, reason = self.ends.popleft() if self.ends else ("available", None)
        made = Made(str(uuid.uuid4()), project_id, request, at, end, reason)
        self.backups.append(made)
        return made

    def _visible(self, project_id: str) -> list[Made]:
        now = self.clock()
        return [made for made in self.backups if made.project_id == project_id and made.at <= now]

    def _matches(self, made: Made, snapshot_id: str, name: str) -> bool:
        if self.hide_snapshot_ids:
            return made.request.name == name and snapshot_id in name
        return made.request.snapshot_id == snapshot_id

    def _shown(self, made: Made) -> Backup:
        settled = self.clock() >= made.at + self.settle and made.id not in self.stuck
        detail = CompletedBackup(
            id=made.id,
            name=made.request.name,
            status=made.end if settled else "creating",
            size=1,
            is_incremental=bool(made.request.incremental),
            created_at=datetime.fromtimestamp(made.at, UTC).isoformat().replace("+00:00", "Z"),
        )
        snapshot_id = None if self.hide_snapshot_ids else made.request.snapshot_id
        return Backup(detail, snapshot_id, made.request.volume_id, made.fail_reason if settled else None)


def _in_doubt() -> ApiError:
    return ApiError(Category.IN_DOUBT, "no answer: the connection was cut")
