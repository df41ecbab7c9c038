"""The emulator's state, in memory: volumes, snapshots, backups and quotas.

There is no I/O and no timer: a backup has the time of its end, and its status is computed for a given time.
Times are seconds since the epoch.
"""

import heapq
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Clock = Callable[[], float]


@dataclass(slots=True)
class Volume:
    """A disk; its status matters only to a backup without a snapshot."""

    id: str
    status: str = "available"


@dataclass(slots=True)
class Snapshot:
    """A snapshot of a volume; `volume_id` is None until a create names it."""

    id: str
    project_id: str
    created_at: float
    volume_id: str | None = None
    name: str | None = None
    description: str | None = None
    status: str = "available"
    size: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    busy_until: float = 0.0

    def status_at(self, now: float) -> str:
        """Return the status: `backing-up` while a backup of the snapshot is in progress."""
        return "backing-up" if now < self.busy_until else self.status


@dataclass(slots=True)
class Backup:
    """An accepted backup; `request` is the JSON body of its create call."""

    id: str
    project_id: str
    volume_id: str
    snapshot_id: str | None
    name: str | None
    description: str | None
    size: int
    created_at: float
    ends_at: float
    data_timestamp: float
    request: object
    fail_reason: str | None = None
    parent: "Backup | None" = None
    dependents: int = 0
    deleted_at: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None

    def status_at(self, now: float) -> str:
        """Return the status at a time: creating, then available or error, finally deleted."""
        if self.deleted_at is not None:
            return "deleted"
        if now < self.ends_at:
            return "creating"
        return "available" if self.fail_reason is None else "error"


@dataclass(slots=True)
class Usage:
    """How much of its quotas a project uses."""

    backups: int = 0
    gigabytes: int = 0


class Store:
    """Volumes, snapshots and backups, with an index for each frequent query."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        """Delete everything."""
        self.volumes: dict[str, Volume] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.backups: dict[str, Backup] = {}
        self._by_project: defaultdict[str, list[Backup]] = defaultdict(list)
        self._by_volume: defaultdict[tuple[str, str], list[Backup]] = defaultdict(list)
        self._usage: defaultdict[str, Usage] = defaultdict(Usage)
        self._ends: list[float] = []
        self.most_in_progress = 0

    def declare(self, snapshot: Snapshot, volume_status: str = "available") -> None:
        """Add or replace a snapshot and its volume."""
        if known := self.snapshots.get(snapshot.id):
            snapshot.busy_until = known.busy_until
        self.snapshots[snapshot.id] = snapshot
        if snapshot.volume_id is not None:
            self.volumes[snapshot.volume_id] = Volume(snapshot.volume_id, volume_status)

    def snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Return a snapshot of a project, or None."""
        found = self.snapshots.get(snapshot_id)
        return found if found and found.project_id == project_id else None

    def backup(self, project_id: str, backup_id: str) -> Backup | None:
        """Return a backup of a project that is not deleted, or None."""
        found = self.backups.get(backup_id)
        gone = found is None or found.deleted_at is not None or found.project_id != project_id
        return None if gone else found

    def newest_first(self, project_id: str, volume_id: str | None = None) -> Iterator[Backup]:
        """Return the backups of a project, or of one volume in it, that are not deleted."""
        if volume_id is None:
            found = self._by_project.get(project_id, [])
        else:
            found = self._by_volume.get((project_id, volume_id), [])
        return (backup for backup in reversed(found) if backup.deleted_at is None)

    def usage(self, project_id: str) -> Usage:
        """Return how much of its quotas a project uses."""
        return self._usage[project_id]

    def add(self, backup: Backup) -> None:
        """Add a backup; its snapshot is busy until the backup ends."""
        self._count_in_progress(backup)
        self.backups[backup.id] = backup
        self._by_project[backup.project_id].append(backup)
        self._by_volume[backup.project_id, backup.volume_id].append(backup)
        usage = self._usage[backup.project_id]
        usage.backups += 1
        usage.gigabytes += backup.size
        if backup.parent is not None:
            backup.parent.dependents += 1
        if backup.snapshot_id is not None:
            snapshot = self.snapshots[backup.snapshot_id]
            snapshot.busy_until = max(snapshot.busy_until, backup.ends_at)

    def _count_in_progress(self, backup: Backup) -> None:
        """Keep the greatest number of backups in progress at once; `most_in_progress` is since the start."""
        while self._ends and self._ends[0] <= backup.created_at:
            heapq.heappop(self._ends)
        heapq.heappush(self._ends, backup.ends_at)
        self.most_in_progress = max(self.most_in_progress, len(self._ends))

    def delete(self, backup: Backup) -> None:
        """Mark a backup as deleted; it stays in the list of all backups."""
        backup.deleted_at = self.clock()
        usage = self._usage[backup.project_id]
        usage.backups -= 1
        usage.gigabytes -= backup.size
        if backup.parent is not None:
            backup.parent.dependents -= 1


def new_id() -> str:
    """Return a new id, a UUID as in the real services."""
    return str(uuid.uuid4())
