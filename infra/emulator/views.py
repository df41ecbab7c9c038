"""JSON views of backups and snapshots: what the API and the control calls show."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.emulator.settings import Rules
from infra.emulator.store import Backup, Snapshot

Json = dict[str, object]
METADATA = (3, 43)
"""Since this microversion Cinder shows a backup's metadata."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address that a caller used: `http://host:port`, `v2` or `v3`, and the project."""

    base: str
    version: str
    project_id: str


def version(name: str, href: str) -> Json:
    """Return a version as Cinder names it."""
    newest = {"version": "3.64", "min_version": "3.0"} if name == "v3" else {"version": "", "min_version": ""}
    return {
        "id": f"{name}.0",
        "status": "CURRENT" if name == "v3" else "DEPRECATED",
        **newest,
        "links": [{"rel": "self", "href": f"{href}{name}/"}],
    }


def timestamp(seconds: float) -> str:
    """Return a time in Cinder's form: UTC, microseconds, no zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def links(address: Address, backup_id: str) -> list[Json]:
    """Return the two links of a backup; the bookmark has no version in its path."""
    tail = f"{address.project_id}/backups/{backup_id}"
    return [
        {"rel": "self", "href": f"{address.base}/{address.version}/{tail}"},
        {"rel": "bookmark", "href": f"{address.base}/{tail}"},
    ]


def summary(backup: Backup, address: Address) -> Json:
    """Return the form of create and the plain list: id, name and links, no status."""
    return {"id": backup.id, "name": backup.name, "links": links(address, backup.id)}


def detail(backup: Backup, address: Address, now: float, rules: Rules, microversion: tuple[int, int]) -> Json:
    """Return all fields of a backup that the microversion has."""
    status = backup.status_at(now)
    shown: Json = {
        "id": backup.id,
        "status": status,
        "size": backup.size,
        "object_count": 1 if status == "available" else 0,
        "availability_zone": backup.availability_zone,
        "container": f"{backup.id[:2]}/{backup.id[2:4]}/{backup.id}" if status == "available" else None,
        "created_at": timestamp(backup.created_at),
        "updated_at": None if status == "creating" else timestamp(backup.ends_at),
        "name": backup.name,
        "description": backup.description,
        "fail_reason": backup.fail_reason if status == "error" else None,
        "volume_id": backup.volume_id,
        "links": links(address, backup.id),
        "is_incremental": backup.parent is not None,
        "has_dependent_backups": backup.dependents > 0,
        "snapshot_id": backup.snapshot_id,
        "data_timestamp": timestamp(backup.data_timestamp),
    }
    if rules == "cinder" and microversion >= METADATA:
        shown["metadata"] = dict(backup.metadata)
    if rules == "page" and address.version == "v2":
        shown["os-bak-tenant-attr:tenant_id"] = backup.project_id
        shown["service_metadata"] = _service_metadata(backup, status)
    return shown


def _service_metadata(backup: Backup, status: str) -> str:
    """Return the vendor's JSON text; it starts and ends with a blank, as in the vendor's sample."""
    facts: Mapping[str, object] = {
        "bootable": False,
        "progress": "0" if status == "creating" else "100",
        "snap_id": backup.snapshot_id,
        "Type": int(backup.parent is not None),
    }
    return f" {json.dumps(facts)} "


def snapshot_detail(snapshot: Snapshot, now: float) -> Json:
    """Return all fields of a snapshot; before a request names its volume, the volume id is made up."""
    return {
        "id": snapshot.id,
        "created_at": timestamp(snapshot.created_at),
        "updated_at": timestamp(max(snapshot.created_at, min(now, snapshot.busy_until))),
        "name": snapshot.name,
        "description": snapshot.description,
        "volume_id": snapshot.volume_id or str(uuid.uuid5(uuid.NAMESPACE_OID, snapshot.id)),
        "status": snapshot.status_at(now),
        "size": snapshot.size,
        "metadata": dict(snapshot.metadata),
        "os-extended-snapshot-attributes:project_id": snapshot.project_id,
        "os-extended-snapshot-attributes:progress": "100%",
    }


def versions(base: str, newest: int) -> Json:
    """Return Cinder's version document."""
    media = {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
    links = [
        {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
        {"rel": "self", "href": f"{base}/v3/"},
    ]
    version: Json = {
        "id": "v3.0",
        "status": "CURRENT",
        "version": f"3.{newest}",
        "min_version": "3.0",
        "updated": "2023-08-31T00:00:00Z",
        "links": links,
        "media-types": [media],
    }
    return {"versions": [version]}


def record(backup: Backup, now: float) -> Json:
    """Return a backup for tests, with the time of its creation and its create request."""
    return {
        "id": backup.id,
        "project_id": backup.project_id,
        "volume_id": backup.volume_id,
        "snapshot_id": backup.snapshot_id,
        "name": backup.name,
        "description": backup.description,
        "status": backup.status_at(now),
        "size": backup.size,
        "fail_reason": backup.fail_reason,
        "time": timestamp(backup.created_at) + "Z",
        "deleted": backup.deleted_at is not None,
        "request": backup.request,
    }
