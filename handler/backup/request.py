"""Snapshot event → validated request of the API page.

Only what is set is sent: Cinder refuses unknown keys and empty strings, the body's ``project_id`` among them
(so that one is sent only where the event asks for it).
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from events.snapshot import BackupName, BackupOptions, ResourceId, SnapshotCompleted
from handler.backup.backup_metadata import marks

_NAME_LIMIT = 64
_RESERVED_PREFIX = "auto"


class BackupRequest(BackupOptions):
    """The ``backup`` object of ``POST /v2/{project_id}/backups``: a name is always set."""

    volume_id: ResourceId
    snapshot_id: ResourceId
    name: BackupName
    metadata: Annotated[Mapping[str, str] | None, Field(exclude=True)] = None
    availability_zone: Annotated[str | None, Field(exclude=True)] = None
    event_id: Annotated[str | None, Field(exclude=True)] = None

    def body(self, *, metadata: bool = False, zone: bool = False) -> bytes:
        """Return the JSON document to send; ``metadata`` and ``zone`` say that the API knows these fields."""
        fields = self.model_dump_json(exclude_none=True).encode()
        if metadata:
            own = marks(self.snapshot_id, self.event_id)
            fields = _with(fields, "metadata", {**(self.metadata or {}), **own})
        if zone and self.availability_zone:
            fields = _with(fields, "availability_zone", self.availability_zone)
        return b'{"backup":' + fields + b"}"


def _with(fields: bytes, name: str, value: object) -> bytes:
    """Add a field to the text of a JSON object that is not empty."""
    return fields[:-1] + f',"{name}":{json.dumps(value)}}}'.encode()


def backup_request(
    snapshot: SnapshotCompleted, overrides: Mapping[str, Any] | None = None, *, event_id: str | None = None
) -> BackupRequest:
    """Make the request for a snapshot's backup; the same each time it is made for an event.

    ``overrides`` go before what the event says.

    Raises:
        pydantic.ValidationError: a field breaks a rule of the API page.

    """
    options = snapshot.backup.model_dump() if snapshot.backup else {}
    options |= overrides or {}
    options = {key: value for key, value in options.items() if value not in (None, "")}
    options.setdefault("name", derived_name(snapshot.snapshot_name, snapshot.snapshot_id))
    ids = {"volume_id": snapshot.volume_id, "snapshot_id": snapshot.snapshot_id, "event_id": event_id}
    return BackupRequest(**ids, **options)


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


def filled_name(template: str, *, snapshot_id: str, volume_id: str, snapshot_name: str) -> str:
    """Fill in a name's placeholders; the snapshot's name is made fit, and cut to the room that is left."""
    filled = template.replace("{snapshot_id}", snapshot_id).replace("{volume_id}", volume_id)
    room = _NAME_LIMIT - len(filled.replace("{snapshot_name}", ""))
    return filled.replace("{snapshot_name}", _slug(snapshot_name)[: max(0, room)])


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^0-9A-Za-z_]+", "-", plain).strip("-_")
