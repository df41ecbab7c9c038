"""Everything the emulator remembers, in memory. Pure: no I/O, and the clock is given.

Nothing here runs on a timer: a backup knows when it ends, and its status is asked for at a moment.
Times are seconds since the epoch.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Clock = Callable[[], float]


@dataclass(slots=True)
class Volume:
    """A disk; its status matters only to a backup that names no snapshot."""

    id: str
    status: str = "available"


@dataclass(slots=True)
class Snapshot:
    """A snapshot of a volume; `volume_id` is None until a create tells it."""

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
        """Give the status: `backing-up` as long as a backup of it is being made."""
        return "backing-up" if now < self.busy_until else self.status


@dataclass(slots=True)
class Backup:
    """A backup that was accepted; `request` is the JSON body that asked for it."""

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

    def status_at(self, now: float) -> str:
        """Give the status at a moment: creating, then available or error, at last deleted."""
        if self.deleted_at is not None:
            return "deleted"
        if now < self.ends_at:
            return "creating"
        return "available" if self.fail_reason is None else "error"


@dataclass(slots=True)
class Usage:
    """What a project's quota counts."""

    backups: int = 0
    gigabytes: int = 0


class Store:
    """Volumes, snapshots and backups, with an index for each question that is asked often."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.volumes: dict[str, Volume] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.backups: dict[str, Backup] = {}
        self._by_project: defaultdict[str, list[Backup]] = defaultdict(list)
        self._by_volume: defaultdict[tuple[str, str], list[Backup]] = defaultdict(list)
        self._usage: defaultdict[str, Usage] = defaultdict(Usage)

    def declare(self, snapshot: Snapshot, volume_status: str = "available") -> None:
        """Make a snapshot and its volume known, or say anew what they are like."""
        if known := self.snapshots.get(snapshot.id):
            snapshot.busy_until = known.busy_until
        self.snapshots[snapshot.id] = snapshot
        if snapshot.volume_id is not None:
            self.volumes[snapshot.volume_id] = Volume(snapshot.volume_id, volume_status)

    def snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Find a snapshot of a project."""
        found = self.snapshots.get(snapshot_id)
        return found if found and found.project_id == project_id else None

    def backup(self, project_id: str, backup_id: str) -> Backup | None:
        """Find a backup of a project that is not deleted."""
        found = self.backups.get(backup_id)
        gone = found is None or found.deleted_at is not None or found.project_id != project_id
        return None if gone else found

    def newest_first(self, project_id: str, volume_id: str | None = None) -> Iterator[Backup]:
        """Give the backups of a project, or of one volume in it, that are not deleted."""
        if volume_id is None:
            found = self._by_project.get(project_id, [])
        else:
            found = self._by_volume.get((project_id, volume_id), [])
        return (backup for backup in reversed(found) if backup.deleted_at is None)

    def usage(self, project_id: str) -> Usage:
        """Give what a project's backups count for."""
        return self._usage[project_id]

    def add(self, backup: Backup) -> None:
        """Remember a backup; its snapshot is busy until it ends."""
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

    def delete(self, backup: Backup) -> None:
        """Mark a backup deleted; it stays among those ever made."""
        backup.deleted_at = self.clock()
        usage = self._usage[backup.project_id]
        usage.backups -= 1
        usage.gigabytes -= backup.size
        if backup.parent is not None:
            backup.parent.dependents -= 1


def new_id() -> str:
    """Make an id as the real services do."""
    return str(uuid.uuid4())
