"""Snapshot event → validated request of the API page.

Only what is set is sent: Cinder refuses unknown keys and empty strings, the body's ``project_id`` among them
(so that one is sent only where the event asks for it).
"""

import re
import unicodedata

from events.snapshot import BackupName, BackupOptions, ResourceId, SnapshotCompleted

_NAME_LIMIT = 64
_RESERVED_PREFIX = "auto"


class BackupRequest(BackupOptions):
    """The ``backup`` object of ``POST /v2/{project_id}/backups``: a name is always set."""

    volume_id: ResourceId
    snapshot_id: ResourceId
    name: BackupName

    def body(self) -> bytes:
        """Return the JSON document to send."""
        return b'{"backup":' + self.model_dump_json(exclude_none=True).encode() + b"}"


def backup_request(snapshot: SnapshotCompleted) -> BackupRequest:
    """Make the request for a snapshot's backup; the same each time it is made."""
    options = snapshot.backup.model_dump(exclude_none=True) if snapshot.backup else {}
    options = {key: value for key, value in options.items() if value != ""}
    options.setdefault("name", derived_name(snapshot.snapshot_name, snapshot.snapshot_id))
    return BackupRequest(volume_id=snapshot.volume_id, snapshot_id=snapshot.snapshot_id, **options)


def derived_name(snapshot_name: str | None, snapshot_id: str) -> str:
    """Return ``<slug of the snapshot's name>-<snapshot_id>``, at most 64 characters, never starting ``auto``.

    The id is kept whole, since the name is how a backup is found where the API leaves the snapshot id out.
    """
    slug = _slug(snapshot_name or "")
    if not slug:
        slug = "snapshot"
    if slug.lower().startswith(_RESERVED_PREFIX):
        slug = f"s-{slug}"
    room = _NAME_LIMIT - len(snapshot_id) - 1
    return f"{slug[:room].rstrip('-_')}-{snapshot_id}"


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^0-9A-Za-z_]+", "-", plain).strip("-_")
