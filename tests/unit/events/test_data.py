"""Unit tests of the bare form: it is refused beside anything that names another type."""

import json
from typing import Any

import pytest

from events.decode import decode
from events.errors import EventError
from events.message import Message
from events.snapshot import SnapshotEvent
from tests.unit.events.forms import LIMIT, SNAPSHOT, load

DATA = load("data")


def sent(fields: dict[str, Any], **parts: Any) -> Message:
    """Return a message with the bare object and these fields beside it."""
    return Message(json.dumps({**DATA, **fields}).encode(), "application/json", **parts)


OTHER = {
    **{
        f"the field {name}": sent({name: "snapshot.deleted"})
        for name in (
            "type", "Type", "event_type", "eventType", "event", "detail-type", "action", "eventName", "@type",
            "message_type", "messageType", "_type", "x-event-type", "operation", "routing_key", "pattern",
        )
    },
    "an AWS style detail type": sent({"detail-type": "EBS Snapshot Notification"}),
    "a past participle": sent({"action": "created"}),
    "a class": sent({"type": "com.acme.SnapshotDeleted"}),
    "a volume": sent({"type": "volume"}),
    "a nested type": sent({"meta": {"type": "snapshot.deleted"}}),
    "an object": sent({"event": {"name": "deleted"}}),
    "a header": sent({}, headers={"event_type": "snapshot.deleted"}),
    "a header in another case": sent({}, headers={"X-Event-Type": "snapshot.deleted"}),
    "Spring's header": sent({}, headers={"__TypeId__": "com.acme.SnapshotDeleted"}),
    "Rebus's header": sent({}, headers={"rbs2-msg-type": "Acme.SnapshotDeleted, Acme"}),
    "NServiceBus's header": sent({}, headers={"NServiceBus.EnclosedMessageTypes": "VolumeDeleted, Acme"}),
    "a routing key": sent({}, headers={"routingKey": "volume.deleted"}),
    "the property type": sent({}, properties={"type": "snapshot.deleted"}),
}  # fmt: skip

SAME = {
    **{
        f"the type {type_}": sent({"type": type_})
        for type_ in (
            "snapshot.completed", "SNAPSHOT_COMPLETED", "SnapshotCompleted", "com.acme.SnapshotCompleted",
            "snapshot.create.end", "acme:snapshot:completed", "snapshot", "", None,
        )
    },
    "an action": sent({"action": "completed"}),
    "Spring's map": sent({}, headers={"__TypeId__": "java.util.LinkedHashMap"}),
    "NServiceBus's header": sent(
        {}, headers={"NServiceBus.EnclosedMessageTypes": "Acme.SnapshotCompleted, Acme, Version=1.0.0.0"}
    ),
    "the property type": sent({}, properties={"type": "snapshot.completed"}),
    "a topic that is no type": sent({"topic": "storage"}, headers={"routing_key": "notifications.info"}),
    "the snapshot's metadata": sent({"metadata": {"type": "daily", "action": "keep"}}),
    "other headers": sent({}, headers={"lang": "py", "x-death": [], "task": "backup"}),
    "a finished snapshot": sent({"status": "available", "deleted": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_a_bare_object_is_refused_beside_another_type(name: str) -> None:
    """A bare object with a field, header or property that names another type is malformed."""
    with pytest.raises(EventError) as caught:
        decode(OTHER[name], max_bytes=LIMIT)

    error = caught.value
    assert ("malformed", "unknown_type", SNAPSHOT) == (error.category, error.code, error.ids.snapshot_id)
    assert "names another type than snapshot.completed" in error.message


@pytest.mark.parametrize("name", SAME)
def test_a_bare_object_is_read_beside_our_type(name: str) -> None:
    """A bare object is read if what stands beside it names a completed snapshot, or no type at all."""
    event = decode(SAME[name], max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    assert (SNAPSHOT, "completed") == (event.snapshot.snapshot_id, event.proves)


@pytest.mark.parametrize(
    "fields", [{"status": "error"}, {"status": ["x"]}, {"status": "creating"}, {"deleted": True}]
)
def test_a_bare_object_with_another_status_proves_only_a_request(fields: dict[str, Any]) -> None:
    """A bare object whose status is not that of a complete snapshot has the API asked first."""
    event = decode(sent(fields), max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    assert "requested" == event.proves


def test_the_search_for_another_type_is_quick() -> None:
    """An object with a hundred thousand fields is decoded well within pytest's time limit."""
    many = {f"f{number}": 1 for number in range(70_000)}

    assert isinstance(decode(sent(many), max_bytes=2 * LIMIT), SnapshotEvent)
