"""Unit tests of snapshots of Kubernetes: which objects, in which state, are a snapshot of our cloud."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from events.message import Message
from events.snapshot import ForeignEvent
from events.sources.kubernetes import CLASS, DRIVERS
from tests.unit.events.forms import (
    SNAPSHOT,
    TRACEPARENT,
    VOLUME,
    load,
    read,
    read_snapshot,
    refusal,
    refusal_of,
)

CONTENT: Mapping[str, Any] = load("kubernetes-watch")["object"]


def content(**parts: object) -> dict[str, Any]:
    """Return the sample object with other values, which are merged into its parts."""
    changed = {
        name: {**CONTENT[name], **value} if isinstance(value, dict) else value
        for name, value in parts.items()
    }
    return {**CONTENT, **changed}


def watched(type_: object = "MODIFIED", **parts: object) -> dict[str, Any]:
    """Return the watch's event of the changed object."""
    return {"type": type_, "object": content(**parts)}


def knative(type_: str = "dev.knative.apiserver.resource.update", **parts: object) -> dict[str, Any]:
    """Return ApiServerSource's event of the changed object."""
    return {**load("kubernetes-knative"), "type": type_, "data": content(**parts)}


@pytest.mark.parametrize("driver", sorted(DRIVERS))
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_complete_snapshot_of_each_driver_is_an_event(driver: str, version: str) -> None:
    """A VolumeSnapshotContent of cinder-csi and of Huawei's drivers is read in all its versions."""
    parts: dict[str, Any] = {"spec": {"driver": driver}, "apiVersion": f"snapshot.storage.k8s.io/{version}"}

    for event in (read_snapshot(watched("ADDED", **parts)), read_snapshot(knative(**parts))):
        assert (VOLUME, SNAPSHOT, "requested") == (
            event.snapshot.volume_id,
            event.snapshot.snapshot_id,
            event.proves,
        )


@pytest.mark.parametrize(
    "parts",
    [
        {"status": {"readyToUse": False}},
        {"status": {"readyToUse": "true"}},
        {"status": {"readyToUse": None}},
        {"status": None},
        {"status": "ready"},
        {"spec": {"driver": "ebs.csi.aws.com"}},
        {"spec": {"driver": ["cinder.csi.openstack.org"]}},
        {"spec": {"driver": None}},
        {"spec": []},
        {"spec": {"source": {"snapshotHandle": SNAPSHOT}}},
        {"metadata": {"deletionTimestamp": "2026-03-04T02:15:07Z"}},
        {"kind": "VolumeSnapshot"},
        {"kind": "VolumeSnapshotContentList"},
        {"kind": ["VolumeSnapshotContent"]},
        {"apiVersion": "example.com/v1"},
        {"apiVersion": 1},
    ],
)
def test_all_but_a_complete_snapshot_is_foreign(parts: dict[str, Any]) -> None:
    """Other objects and drivers, and incomplete, imported or deleted snapshots, are foreign."""
    for event in (read(watched(**parts)), read(knative(**parts))):
        assert isinstance(event, ForeignEvent)


@pytest.mark.parametrize("type_", ["DELETED", "BOOKMARK", "ERROR"])
def test_other_changes_of_a_watch_are_foreign(type_: str) -> None:
    """What a watch says of deleted objects, of its position and of its errors is foreign."""
    assert ForeignEvent("kubernetes", "VolumeSnapshotContent") == read(watched(type_))


@pytest.mark.parametrize("type_", ["resource.delete", "ref.add", "ref.update", "ref.delete", "other"])
def test_other_events_of_knative_are_foreign(type_: str) -> None:
    """Deletions, and events that only refer to an object, are foreign."""
    assert isinstance(read(knative(f"dev.knative.apiserver.{type_}")), ForeignEvent)


def test_all_that_a_watch_says_about_one_object_is_one_event() -> None:
    """A watch that starts anew sends each object again: its event has the object's own id."""
    first, again = read_snapshot(watched("ADDED")), read_snapshot(watched(metadata={"resourceVersion": "9"}))

    assert CONTENT["metadata"]["uid"] == first.id == again.id


def test_a_watch_without_a_usable_id_has_the_id_of_its_bytes() -> None:
    """An object without an id that an event may have gets one that is derived from its bytes."""
    for uid in (None, 7, "a\nb", "x" * 300):
        assert 32 <= len(read_snapshot(watched(metadata={"uid": uid})).id) <= 64


def test_a_cloudevent_in_headers_is_read_too() -> None:
    """ApiServerSource sends the attributes in headers and the object alone as the body."""
    event = load("kubernetes-knative")
    headers = {f"cloudEvents:{key}": value for key, value in event.items() if key != "data"}

    found = read_snapshot(event["data"], **headers, traceparent=TRACEPARENT)

    assert (event["id"], event["source"], event["type"]) == (found.id, found.source, found.type)
    assert ("knative", TRACEPARENT) == (found.form, found.traceparent)


def test_a_rule_can_match_the_class_of_a_snapshot() -> None:
    """The event's metadata has the snapshot's class; one of a wrong type is left out."""
    assert {CLASS: "csi-cinder-snapclass"} == read_snapshot(watched()).metadata
    assert {} == read_snapshot(watched(spec={CLASS: ["x"]})).metadata


@pytest.mark.parametrize(
    ("size", "gigabytes"),
    [(42949672960, 40), (42949672961, 41), (0, 0), ("40Gi", None), (True, None), (-1, 0), (10**30, None)],
)
def test_a_size_in_bytes_becomes_gigabytes(size: object, gigabytes: int | None) -> None:
    """The size is rounded up to whole GB, and left out where it is none."""
    assert gigabytes == read_snapshot(watched(status={"restoreSize": size})).snapshot.size_gb


@pytest.mark.parametrize("odd", ["../../etc/passwd", "snap-e406fc9m", 7, ["a"], {"a": {}}, VOLUME + "\n"])
def test_a_handle_that_is_no_id_is_invalid(odd: object) -> None:
    """A handle that is a path, another cloud's id or of a wrong type is refused."""
    for event in (watched, knative):
        assert "bad_field" == refusal_of(event(status={"snapshotHandle": odd})).code
        assert "bad_field" == refusal_of(event(spec={"source": {"volumeHandle": odd}})).code


def test_a_snapshot_without_a_handle_is_invalid() -> None:
    """A complete snapshot without its ids is refused, not ignored."""
    assert "missing_field" == refusal_of(watched(status={"snapshotHandle": None})).code
    assert "missing_field" == refusal_of(knative(spec={"source": {}})).code


@pytest.mark.parametrize("odd", [None, "text", 7, [], True])
def test_a_watch_without_an_object_is_malformed(odd: object) -> None:
    """What has the marks of a watch, but no object, is refused."""
    error = refusal_of({"type": "ADDED", "object": odd})

    assert ("malformed", "bad_field") == (error.category, error.code)


@pytest.mark.parametrize("type_", ["added", "ADD", "", None, 7, ["ADDED"], {"ADDED": 1}])
def test_an_object_beside_another_type_is_no_watch(type_: object) -> None:
    """Another word, or a type of a wrong type, is no mark of a watch."""
    assert "unknown_form" == refusal_of(watched(type_)).code


def test_a_deep_object_is_malformed() -> None:
    """An object that is nested too deeply is refused like any other body."""
    deep = json.dumps(watched(spec={"source": {"volumeHandle": "@"}})).replace('"@"', "[" * 500 + "]" * 500)

    assert "too_deep" == refusal(Message(deep.encode()).body).code
