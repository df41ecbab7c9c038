"""Sample dead letters for the tests."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from events.message import Message

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
DIED = datetime(2026, 11, 20, 3, 15, tzinfo=UTC)
DATA = f'{{"project_id": "{PROJECT}", "volume_id": "{VOLUME}", "snapshot_id": "{SNAPSHOT}"}}'.encode()

OURS: Mapping[str, Any] = {
    "own": "kept",
    "dl-category": "quota",
    "dl-code": "VolumeBackup.0061",
    "dl-status": 413,
    "dl-message": "no room",
    "dl-attempts": 8,
    "dl-event-id": "event-1",
    "dl-project-id": PROJECT,
    "dl-volume-id": VOLUME,
    "dl-snapshot-id": SNAPSHOT,
    "dl-first-seen": "2026-11-20T02:00:00+00:00",
    "dl-dead-at": DIED.isoformat(),
    "dl-source-queue": "q",
}
BROKERS: Mapping[str, Any] = {
    "x-first-death-reason": "delivery_limit",
    "x-death": [{"reason": "delivery_limit", "queue": "q", "count": 1, "time": DIED, "exchange": "in"}],
}


def ours(**changed: Any) -> Message:
    """Return a message that this program dead-lettered; keywords change its ``dl-`` headers."""
    headers = {**OURS, **{f"dl-{key.replace('_', '-')}": value for key, value in changed.items()}}
    return Message(DATA, "application/json", headers)
