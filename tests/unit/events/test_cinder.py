"""Unit tests of Cinder's notifications, made up and captured."""

import json
from typing import Any

import pytest

from events.decode import decode
from events.message import Message
from events.snapshot import ForeignEvent, SnapshotEvent
from events.sources import cinder
from tests.unit.events.forms import LIMIT, load, notifications, read, read_snapshot, refusal_of


def notification(**changes: object) -> dict[str, Any]:
    """Return the bare sample with other values in its payload."""
    sample: dict[str, Any] = load("cinder-bare")
    return {**sample, "payload": {**sample["payload"], **changes}}


@pytest.mark.parametrize("case", notifications())
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_captured_cinder_notification_is_a_completed_snapshot(case: str, wrapped: bool) -> None:
    """Notifications captured from Cinder 18 and 29, with and without Keystone, of both drivers, are read."""
    body = notifications()[case]["body_utf8"]
    inner = json.loads(body)["oslo.message"]
    payload = json.loads(inner)["payload"]

    event = decode(Message((body if wrapped else inner).encode()), max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    told = (event.snapshot.project_id, event.snapshot.snapshot_id, event.proves, event.metadata)
    assert (payload["tenant_id"], payload["snapshot_id"], "completed", {"team": "rig"}) == told


@pytest.mark.parametrize("case", notifications())
def test_an_event_has_nothing_of_the_senders_context(case: str) -> None:
    """The event has no field of the sender's context, where old releases put the user's live token."""
    event = decode(Message(notifications()[case]["body_utf8"].encode()), max_bytes=LIMIT)

    assert "TTTT" not in repr(event)
    assert "_context" not in repr(event)


@pytest.mark.parametrize(
    ("changes", "proves"),
    [
        ({"status": "available"}, "completed"),
        ({"status": "available", "deleted": None}, "completed"),
        ({"status": "available", "deleted": "True"}, "requested"),
        ({"status": "creating"}, "requested"),
        ({"status": "backing-up"}, "requested"),
        ({"status": "error"}, "requested"),
        ({"status": None}, "requested"),
    ],
)
def test_only_an_available_snapshot_is_complete(changes: dict[str, Any], proves: str) -> None:
    """A snapshot in another status is only requested, since the usage audit repeats ``create.end``."""
    assert proves == read_snapshot(notification(**changes)).proves


@pytest.mark.parametrize(
    "event_type",
    [
        "snapshot.create.start",
        "snapshot.create.error",
        "snapshot.delete.end",
        "snapshot.exists",
        "volume.create.end",
        "backup.createprogress",
        "group.create.end",
        "scheduler.retype",
    ],
)
def test_other_notifications_are_foreign(event_type: str) -> None:
    """Other notifications, which have the same routing key, are foreign events."""
    assert ForeignEvent("cinder", event_type) == read({"event_type": event_type, "payload": {}})


@pytest.mark.parametrize("payload", [[], "text", None])
def test_a_foreign_notification_may_have_any_payload(payload: object) -> None:
    """Only the payload of a created snapshot must be an object; other services also send lists."""
    assert ForeignEvent("cinder", "metering") == read({"event_type": "metering", "payload": payload})
    assert "bad_field" == refusal_of({"event_type": "snapshot.create.end", "payload": payload}).code


@pytest.mark.parametrize("version", ["1.0", "3.0", "2", "2.x", "", None, 2.0])
def test_an_envelope_of_another_version_is_refused(version: object) -> None:
    """An envelope of another oslo version than 2.x is refused."""
    error = refusal_of({**load("cinder-wrapped"), "oslo.version": version})

    assert "unknown_version" == error.code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({}, "bad_field"),
        ("", "not_json"),
        ("[]", "not_object"),
        ('{"event_type": 1, "payload": {}}', "bad_field"),
    ],
)
def test_an_envelope_with_something_odd_inside_is_refused(message: object, code: str) -> None:
    """An envelope is refused unless its inner message is the JSON text of a notification."""
    assert code == refusal_of({"oslo.version": "2.0", "oslo.message": message}).code


@pytest.mark.parametrize("field", ["volume_id", "snapshot_id"])
def test_a_created_snapshot_without_ids_is_invalid(field: str) -> None:
    """A created snapshot without one of its ids is recognised and refused as invalid."""
    error = refusal_of(notification(**{field: None}))

    assert ("invalid", "missing_field", load("cinder-bare")["message_id"]) == (
        error.category,
        error.code,
        error.ids.event_id,
    )


def test_a_missing_project_is_left_to_the_settings() -> None:
    """An event without a project is accepted; the handler uses VBS_PROJECT_ID."""
    assert read_snapshot(notification(tenant_id="")).snapshot.project_id is None


@pytest.mark.parametrize("changes", [{"volume_size": "40"}, {"volume_size": True}, {"volume_size": -1}])
def test_an_odd_size_is_left_out(changes: dict[str, Any]) -> None:
    """An invalid size is left out, since it is only used to estimate the delay."""
    assert read_snapshot(notification(**changes)).snapshot.size_gb is None


@pytest.mark.parametrize(("name", "expected"), [(None, None), (7, None), ("n" * 2000, "n" * 1024)])
def test_an_invalid_snapshot_name_is_left_out_or_shortened(name: object, expected: str | None) -> None:
    """A snapshot with an invalid name is still accepted, since the name is only part of the backup's name."""
    assert expected == read_snapshot(notification(display_name=name)).snapshot.snapshot_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (None, {}),
        (7, {}),
        ("{}", {}),
        ("{'policy': 'gold'}", {"policy": "gold"}),
        ("{'a': \"it's\", 'b': 'tab\\t'}", {"a": "it's", "b": "tab\t"}),
        ({"a": "b"}, {"a": "b"}),
    ],
)
def test_metadata_is_read_from_its_repr(text: object, expected: dict[str, str]) -> None:
    """Metadata is read from the repr of a dictionary, which Cinder sends instead of JSON."""
    assert expected == read_snapshot(notification(metadata=text)).metadata


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('echo __system__enableActive')",
        "{'__system__enableActive': ['1']}",
        "{'__system__enableActive': '1', 'x': '\\N{nothing}'}",
        "(" * 10_000 + "__system__enableActive ",
        "-" * 60_000 + " __system__enableActive",
    ],
)
def test_the_words_of_unreadable_metadata_become_keys(text: str) -> None:
    """Metadata that is not evaluated becomes keys, so that a service's own snapshot is still recognised."""
    assert "__system__enableActive" in read_snapshot(notification(metadata=text)).metadata


def test_metadata_is_read_to_a_limit() -> None:
    """Metadata of more than 64 KiB is not evaluated."""
    text = repr({"k" * 10: "v" * cinder._METADATA_LIMIT})

    assert "kkkkkkkkkk" in read_snapshot(notification(metadata=text)).metadata
