"""Numbered snapshot events for tests: the same number gives the same event."""

import json
import uuid
from typing import Any

from events.message import Message

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
SOURCE = "/tests"


def made_up_id(kind: str, number: int) -> str:
    """Return a UUID that depends on kind and number only."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {number}"))


def snapshot_data(number: int, **fields: Any) -> dict[str, Any]:
    """Return the ``data`` of event ``number``."""
    data = {
        "project_id": PROJECT,
        "volume_id": made_up_id("volume", number),
        "snapshot_id": made_up_id("snapshot", number),
        "snapshot_name": f"nightly-{number}",
    }
    return {key: value for key, value in (data | fields).items() if value is not None}


def cloud_event(number: int, *, event_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return event ``number`` as a CloudEvent; ``event_id`` makes it another event of the same snapshot."""
    return {
        "specversion": "1.0",
        "id": event_id or made_up_id("event", number),
        "source": SOURCE,
        "type": "snapshot.completed",
        "data": snapshot_data(number, **fields),
    }


def message(number: int, *, event_id: str | None = None, **fields: Any) -> Message:
    """Return event ``number`` as it comes from the broker."""
    body = json.dumps(cloud_event(number, event_id=event_id, **fields)).encode()
    return Message(body, "application/cloudevents+json")
