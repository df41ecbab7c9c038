"""The bare ``data`` object of a ``snapshot.completed`` event; operators and replay tools send it too."""

from collections.abc import Mapping
from typing import Any

from events.reading import ParsedMessage, snapshot_event
from events.snapshot import SnapshotEvent


def is_data(value: Mapping[str, Any]) -> bool:
    """Tell whether it names a snapshot or a volume in our own words."""
    return "snapshot_id" in value or "volume_id" in value


def read(parsed: ParsedMessage) -> SnapshotEvent:
    """Read it; it has no id, so the same bytes are the same event. Raises ``InvalidEvent``."""
    return snapshot_event(
        parsed,
        form="data",
        event_id=None,
        source="data",
        type_="snapshot.completed",
        data=parsed.value,
        metadata=parsed.value.get("metadata"),
    )
