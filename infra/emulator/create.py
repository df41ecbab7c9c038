"""Creation of a backup, with Cinder's checks in Cinder's order (cinder/backup/api.py).

Volume, snapshot, the snapshot's volume and its status come first; a moment later quota, parent and the backup
itself. In that moment the real API accepts several concurrent requests for one snapshot: see `Settings.race`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from infra.emulator.answers import bad_request, not_found, over_quota
from infra.emulator.rules import WantedBackup
from infra.emulator.settings import Settings
from infra.emulator.store import Backup, Snapshot, Store, Volume, new_id

_CHOOSES_AVAILABLE = 71
"""Cinder 22.0.0 has the microversions of 21; 3.71 is the first that only releases after it have."""


@dataclass(frozen=True, slots=True)
class Source:
    """The volume and snapshot to back up, after their checks."""

    project_id: str
    volume: Volume
    snapshot: Snapshot | None


@dataclass(frozen=True, slots=True)
class Failure:
    """How a backup ends in error: the reason, and after how many seconds (None: after `Settings.settle`)."""

    reason: str
    seconds: float | None = None


def find_source(store: Store, settings: Settings, project_id: str, wanted: WantedBackup) -> Source:
    """Find volume and snapshot and check their status. Raises ApiError (404, 400)."""
    volume = _volume(store, settings, wanted.volume_id)
    if wanted.snapshot_id is None:
        _check_volume(volume, forced=wanted.force)
        return Source(project_id, volume, None)
    snapshot = _snapshot(store, settings, project_id, wanted.snapshot_id)
    _check_snapshot(snapshot, volume, store.clock())
    return Source(project_id, volume, snapshot)


def make_backup(
    store: Store,
    settings: Settings,
    source: Source,
    wanted: WantedBackup,
    request: object,
    failure: Failure | None = None,
) -> Backup:
    """Check quota and parent, and store the backup. Raises ApiError (413, 400)."""
    size = source.snapshot.size if source.snapshot else 1
    _check_quota(store, settings, source.project_id, size)
    now = store.clock()
    taken_at = source.snapshot.created_at if source.snapshot else now
    parent = _parent(settings, store, source, wanted)
    seconds = settings.settle if failure is None or failure.seconds is None else failure.seconds
    backup = Backup(
        id=new_id(),
        project_id=source.project_id,
        volume_id=wanted.volume_id,
        snapshot_id=wanted.snapshot_id,
        name=wanted.name,
        description=wanted.description,
        size=size,
        created_at=now,
        ends_at=now + seconds,
        data_timestamp=taken_at,
        request=request,
        fail_reason=failure.reason[:255] if failure else None,
        parent=parent,
        metadata=wanted.metadata,
        availability_zone=wanted.availability_zone,
    )
    if source.snapshot is not None:
        source.snapshot.volume_id = wanted.volume_id
    store.add(backup)
    return backup


def _volume(store: Store, settings: Settings, volume_id: str) -> Volume:
    volume = store.volumes.get(volume_id)
    if volume is None:
        if settings.strict:
            raise not_found("Volume", volume_id)
        volume = store.volumes[volume_id] = Volume(volume_id)
    return volume


def _snapshot(store: Store, settings: Settings, project_id: str, snapshot_id: str) -> Snapshot:
    snapshot = store.snapshot(project_id, snapshot_id)
    if snapshot is not None:
        return snapshot
    if settings.strict or snapshot_id in store.snapshots:
        raise not_found("Snapshot", snapshot_id)
    snapshot = Snapshot(snapshot_id, project_id, created_at=store.clock())
    store.snapshots[snapshot_id] = snapshot
    return snapshot


def _check_volume(volume: Volume, *, forced: bool) -> None:
    if volume.status not in ("available", "in-use"):
        raise bad_request(
            "Invalid volume: Volume to be backed up must be available or in-use, "
            f'but the current status is "{volume.status}".'
        )
    if volume.status == "in-use" and not forced:
        raise bad_request("Invalid volume: Backing up an in-use volume must use the force flag.")


def _check_snapshot(snapshot: Snapshot, volume: Volume, now: float) -> None:
    if snapshot.volume_id not in (None, volume.id):
        raise bad_request(
            f"Invalid volume: Volume {volume.id} does not match with snapshot.volume_id {snapshot.volume_id}."
        )
    if (status := snapshot.status_at(now)) != "available":
        raise bad_request(
            "Invalid snapshot: Snapshot to be backed up must be available, "
            f'but the current status is "{status}".'
        )


def _check_quota(store: Store, settings: Settings, project_id: str, size: int) -> None:
    used = store.usage(project_id)
    if 0 <= settings.quota_gigabytes < used.gigabytes + size:
        raise over_quota(
            "VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. "
            f"Requested {size}G, quota is {settings.quota_gigabytes}G "
            f"and {used.gigabytes}G has been consumed."
        )
    if 0 <= settings.quota_backups <= used.backups:
        raise over_quota(
            f"BackupLimitExceeded: Maximum number of backups allowed ({settings.quota_backups}) exceeded"
        )


def _parent(settings: Settings, store: Store, source: Source, wanted: WantedBackup) -> Backup | None:
    """Return the backup that this one builds on, or None for a full backup.

    By the API page the first backup of a volume is full and later ones are incremental, whatever the request
    says.
    """
    earlier = store.newest_first(source.project_id, source.volume.id)
    if settings.rules == "page":
        return next(earlier, None)
    return _cinder_parent(settings, store, source, list(earlier)) if wanted.incremental else None


def _cinder_parent(settings: Settings, store: Store, source: Source, earlier: Sequence[Backup]) -> Backup:
    """Return the backup with the newest data, if that is older than the snapshot's. Raises ApiError (400).

    From 22.0.0 Cinder passes over backups that are not available; before, it refuses if the newest is not.
    Where all data is newer than the snapshot's, Cinder takes the first backup (measured).
    """
    now = store.clock()
    before = source.snapshot.created_at if source.snapshot else math.inf
    chooses = settings.microversion >= _CHOOSES_AVAILABLE

    def preference(backup: Backup) -> float:
        passed_over = chooses and backup.status_at(now) != "available"
        return -math.inf if passed_over or backup.data_timestamp >= before else backup.data_timestamp

    latest = max(earlier, key=preference, default=None)
    if latest is None or (chooses and latest.status_at(now) != "available"):
        raise bad_request("Invalid backup: No backups available to do an incremental backup.")
    if latest.status_at(now) != "available":
        raise bad_request("Invalid backup: The parent backup must be available for incremental backup.")
    return latest
