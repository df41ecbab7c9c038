"""Reads Cinder's notifications, which oslo.messaging sends.

Its driver ``messagingv2`` wraps them in an envelope, ``messaging`` does not. The sender's context
(``_context_*``) is not read: old releases put the user's live token there.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

from events.errors import MalformedEvent
from events.reading import (
    ParsedMessage,
    parse_object,
    plain_id,
    snapshot_event,
    snapshot_fields,
    some_ids,
    truncate,
)
from events.snapshot import ForeignEvent, SnapshotEvent

COMPLETED: Final = ("snapshot.create.end", "snapshot.manage_existing_snapshot.end")
"""Of a new snapshot, and of one that Cinder has adopted.

At the end of an adoption the payload's status is still ``creating`` (``CreateSnapshotOnFinishTask`` of
cinder/volume/flows/manager/manage_existing_snapshot.py notifies with the snapshot as it was read at first).
"""
_VERSION = re.compile(r"2\.\d{1,4}")
_METADATA_LIMIT = 65_536
# The repr of a flat dictionary of texts, the only form of a snapshot's metadata. It is checked before it is
# evaluated, since only the C stack bounds the evaluator's depth.
_TEXT = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_FLAT = re.compile(rf"\{{{_TEXT}: {_TEXT}(?:, {_TEXT}: {_TEXT})*+\}}")


def read_wrapped(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read an oslo 2.x envelope, whose message is JSON text inside JSON. Raises ``EventError``."""
    version, text = parsed.value.get("oslo.version"), parsed.value["oslo.message"]
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise MalformedEvent("unknown_version", f"oslo.version {truncate(version)!r} is not 2.x")
    if not isinstance(text, str):
        raise MalformedEvent("bad_field", "oslo.message: must be a text")
    return _read(parsed, parse_object(text), "cinder-v2")


def read_bare(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read a notification without an envelope. Raises ``EventError``."""
    return _read(parsed, parsed.value, "cinder")


def _read(parsed: ParsedMessage, notification: Mapping[str, Any], form: str) -> SnapshotEvent | ForeignEvent:
    event_type, payload = notification.get("event_type"), notification.get("payload")
    if isinstance(event_type, str) and event_type and event_type not in COMPLETED:
        # Includes snapshot.create.error of vendors' forks: a failed snapshot cannot be backed up.
        return ForeignEvent(form, event_type[:64])
    if event_type not in COMPLETED or not isinstance(payload, dict):
        ids = some_ids(notification.get("message_id"), notification.get("publisher_id"), event_type, payload)
        raise MalformedEvent("bad_field", "event_type must be a text, and payload an object", ids)
    return snapshot_event(
        parsed,
        form=form,
        event_id=plain_id(notification.get("message_id")),
        source=truncate(notification.get("publisher_id")) or "cinder",
        type_=event_type,
        data=snapshot_fields(
            project_id=payload.get("tenant_id"),
            volume_id=payload.get("volume_id"),
            snapshot_id=payload.get("snapshot_id"),
            name=payload.get("display_name"),
            size_gb=payload.get("volume_size"),
        )
        | {"availability_zone": payload.get("availability_zone")},
        # The usage audit sends this event again with the snapshot's present status, which may be any.
        proves="completed" if _is_complete(payload) else "requested",
        metadata=_metadata(payload.get("metadata")),
    )


def _is_complete(payload: Mapping[str, Any]) -> bool:
    return payload.get("status") == "available" and not payload.get("deleted")


def _metadata(text: object) -> Mapping[str, Any]:
    """Return the metadata, which Cinder sends as the repr of a dictionary; old drivers may send an object.

    If it cannot be parsed, its words become the keys, so that a key that marks a service's own snapshot is
    still recognised.
    """
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or not text:
        return {}
    if len(text) <= _METADATA_LIMIT and _FLAT.fullmatch(text):
        try:
            metadata: dict[str, Any] = ast.literal_eval(text)
        except (ValueError, SyntaxError):  # an escape that Python does not know
            pass
        else:
            return metadata
    return dict.fromkeys(re.findall(r"\w+", text[:_METADATA_LIMIT]))
