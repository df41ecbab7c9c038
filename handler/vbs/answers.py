"""Parse the API's JSON objects into backups and snapshots.

An optional field that is missing, null or of a wrong type becomes None; it does not fail the answer.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from events.outcome import AcceptedBackup, BackupLink, CompletedBackup
from handler.backup.backup_metadata import SNAPSHOT_KEY
from handler.backup.ports import Backup, Snapshot
from handler.vbs.transport.body import Unreadable, parse_json

_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_LINKS_LIMIT = 8
_TEXT_LIMIT = 2000

Object = Mapping[str, Any]


def is_uuid(value: object) -> bool:
    """Return whether a value is a UUID, with or without dashes."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def plain(value: str) -> str:
    """Return an id, or a text that contains one, without dashes and in lower case, to compare it."""
    return value.replace("-", "").lower()


def accepted(body: bytes) -> AcceptedBackup:
    """Parse the answer to the create call. Raises ``Unreadable`` if it has no backup id."""
    backup = member(parse_json(body), "backup")
    return AcceptedBackup(id=identity(backup), name=_text(backup, "name"), links=_links(backup))


def backup(raw: Object) -> Backup:
    """Parse a backup of the show or detail call. Raises ``Unreadable`` if id or status is missing."""
    detail = CompletedBackup(
        id=identity(raw),
        name=_text(raw, "name"),
        status=_status(raw),
        size=_count(raw, "size"),
        container=_text(raw, "container"),
        object_count=_count(raw, "object_count"),
        is_incremental=_flag(raw, "is_incremental"),
        availability_zone=_text(raw, "availability_zone"),
        created_at=_time(raw, "created_at"),
        updated_at=_time(raw, "updated_at"),
        data_timestamp=_time(raw, "data_timestamp"),
    )
    return Backup(
        detail,
        snapshot_id=_text(raw, "snapshot_id") or _metadata_snapshot(raw) or _marked_snapshot(raw),
        volume_id=_text(raw, "volume_id"),
        fail_reason=_text(raw, "fail_reason"),
    )


def snapshot(raw: Object) -> Snapshot:
    """Parse a snapshot. Raises ``Unreadable`` if id, volume or status is missing."""
    volume_id = raw.get("volume_id")
    if not isinstance(volume_id, str) or not is_uuid(volume_id):
        raise Unreadable("the snapshot has no usable volume_id")
    metadata = raw.get("metadata")
    return Snapshot(
        id=identity(raw),
        volume_id=volume_id,
        status=_status(raw),
        name=_text(raw, "name"),
        size=_count(raw, "size"),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def member(document: object, name: str) -> Object:
    """Return the object that the document holds under ``name``. Raises ``Unreadable``."""
    inner = document.get(name) if isinstance(document, dict) else None
    if not isinstance(inner, dict):
        raise Unreadable(f"the answer has no object {name!r}")
    return inner


def identity(raw: Object) -> str:
    """Return the object's id. Raises ``Unreadable`` if it is not a UUID."""
    value = raw.get("id")
    if not isinstance(value, str) or not is_uuid(value):
        raise Unreadable("the id in the answer is not a UUID")
    return value


def _metadata_snapshot(raw: Object) -> str | None:
    """Return the snapshot id from ``service_metadata`` (JSON text).

    VBS v2 omits some snapshot ids from the backup and keeps them there, without dashes.
    """
    text = raw.get("service_metadata")
    if not isinstance(text, str):
        return None
    try:
        metadata = parse_json(text.encode("utf-8", "replace"))
    except Unreadable:
        return None
    value = metadata.get("snap_id") if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and is_uuid(value) else None


def _marked_snapshot(raw: Object) -> str | None:
    """Return the snapshot id that we have put into the backup's metadata, where the API shows that."""
    metadata = raw.get("metadata")
    value = metadata.get(SNAPSHOT_KEY) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and is_uuid(value) else None


def _links(raw: Object) -> tuple[BackupLink, ...]:
    links = raw.get("links")
    found = links[:_LINKS_LIMIT] if isinstance(links, list) else []
    pairs = [(_text(link, "href"), _text(link, "rel")) for link in found if isinstance(link, dict)]
    return tuple(BackupLink(href=href, rel=rel) for href, rel in pairs if href and rel)


def _status(raw: Object) -> str:
    status = raw.get("status")
    if not isinstance(status, str) or not status:
        raise Unreadable("the answer has no status")
    return status.lower()


def _text(raw: Object, name: str) -> str | None:
    value = raw.get(name)
    if not isinstance(value, str) or not value:
        return None
    text = value[:_TEXT_LIMIT]
    # JSON can contain lone surrogates; an event cannot.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _count(raw: Object, name: str) -> int | None:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(raw: Object, name: str) -> bool | None:
    value = raw.get(name)
    return value if isinstance(value, bool) else None


def _time(raw: Object, name: str) -> str | None:
    """Return a time in RFC 3339; the API's times have no zone and are in UTC."""
    value = raw.get(name)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        return None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
