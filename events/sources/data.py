"""Reads the bare ``data`` object of a ``snapshot.completed`` event, which operators and replay tools send."""

from collections.abc import Mapping
from typing import Any

from events.reading import ParsedMessage, snapshot_event
from events.snapshot import SnapshotEvent


def is_data(value: Mapping[str, Any]) -> bool:
    """Return whether the object has one of our field names for a snapshot or volume id."""
    return "snapshot_id" in value or "volume_id" in value


def read(parsed: ParsedMessage) -> SnapshotEvent:
    """Read the object; it has no event id, so the same bytes are the same event. Raises ``InvalidEvent``."""
    return snapshot_event(
        parsed,
        form="data",
        event_id=None,
        source="data",
        type_="snapshot.completed",
        data=parsed.value,
        metadata=parsed.value.get("metadata"),
    )
