"""Unit tests of decoding: each form of an event about one snapshot gives the same snapshot."""

import pytest

from events.decode import decode
from events.message import Message
from events.snapshot import ForeignEvent, SnapshotCompleted
from tests.unit.events.forms import (
    COMPLETED,
    LIMIT,
    PROJECT,
    REQUESTED,
    SNAPSHOT,
    TRACEPARENT,
    TRACES,
    VOLUME,
    load,
    message,
    read,
    read_snapshot,
)

EXPECTED = SnapshotCompleted(
    project_id=PROJECT, volume_id=VOLUME, snapshot_id=SNAPSHOT, snapshot_name="nightly-db01", size_gb=40
)
CINDER_ID = "7f00763f-4af8-4326-b49f-f43a87b202f6"
CLOUDEVENT_ID = "5d0f6c1e-7a51-4f0e-8a38-1f2e3d4c5b6a"
TRACE_ID = "5f0b8e1c-17c4-11f1-9a3d-0255ac100a21"


@pytest.mark.parametrize("name", COMPLETED)
def test_every_form_of_a_completed_snapshot_is_the_same_snapshot(name: str) -> None:
    """The decoded snapshot does not depend on the form of the event."""
    event = read_snapshot(load(name))

    assert (EXPECTED, "completed") == (event.snapshot, event.proves)


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_proves_only_a_request(name: str) -> None:
    """A trace has no size, seldom a project, and proves only that the snapshot was requested."""
    event = read_snapshot(load(name))

    expected = EXPECTED.model_copy(
        update={"project_id": PROJECT if name == "cts-job" else None, "size_gb": None}
    )
    assert (expected, "requested") == (event.snapshot, event.proves)


def test_an_adopted_snapshot_is_looked_up() -> None:
    """At the end of an adoption Cinder sends the status of its begin, so the API is asked."""
    event = read_snapshot(load("cinder-managed"))

    assert (EXPECTED, "requested") == (event.snapshot, event.proves)
    assert ("cinder-v2", "snapshot.manage_existing_snapshot.end") == (event.form, event.type)


@pytest.mark.parametrize("name", ["kubernetes-watch", "kubernetes-knative"])
def test_a_snapshot_of_kubernetes_has_ids_and_size_only(name: str) -> None:
    """An object of Kubernetes has neither the project nor the cloud's name of the snapshot."""
    event = read_snapshot(load(name))

    expected = EXPECTED.model_copy(update={"project_id": None, "snapshot_name": None})
    assert (expected, "requested") == (event.snapshot, event.proves)


@pytest.mark.parametrize(
    ("name", "event_id"),
    [
        ("cloudevents", CLOUDEVENT_ID),
        ("eventgrid-events", CLOUDEVENT_ID),
        ("cinder-wrapped", CINDER_ID),
        ("cinder-bare", CINDER_ID),
        ("smn", CINDER_ID),
        ("rabbitmq-topic", CINDER_ID),
        ("asynchronous", CINDER_ID),
        ("cts-trace", TRACE_ID),
        ("cts-trigger", TRACE_ID),
        ("eventgrid-trace", "b27e5a90-3c61-4f1d-8f7a-0d2b9c4e6a18"),
        ("cinder-managed", CINDER_ID),
        ("kubernetes-watch", "5b0c6f52-6f1f-4a3e-8a0d-5c1de7d6a9b4"),
        ("kubernetes-knative", "e0447eb7-36b5-443b-9d37-faf4fe5c62f0"),
    ],
)
def test_the_event_id_is_that_of_the_producer(name: str, event_id: str) -> None:
    """The innermost id that the producer set is the event's id."""
    assert event_id == read_snapshot(load(name)).id


def test_bare_data_has_the_id_of_its_bytes() -> None:
    """An event without an id gets one that is derived from its bytes, so it is the same each time."""
    assert message(load("data")).derived_id == read_snapshot(load("data")).id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timer", ForeignEvent("timer", "TIMER")),
        ("foreign-backup", ForeignEvent("cinder", "backup.create.end")),
        ("kubernetes-pod", ForeignEvent("kubernetes", "Pod")),
    ],
)
def test_a_notification_of_something_else_is_foreign(name: str, expected: ForeignEvent) -> None:
    """Other notifications on a shared routing key are recognised as foreign events."""
    assert expected == read(load(name))


@pytest.mark.parametrize("name", COMPLETED + REQUESTED)
def test_a_traceparent_header_is_passed_on(name: str) -> None:
    """The event has the traceparent of the AMQP header in every form, except those inside an envelope."""
    in_envelope = name in {"asynchronous", "eventgrid-events", "kafka", "rocketmq", "smn"} or name.startswith(
        "rabbitmq"
    )

    expected = None if in_envelope else TRACEPARENT
    assert expected == read_snapshot(load(name), traceparent=TRACEPARENT).traceparent


@pytest.mark.parametrize(
    "value", ["", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", TRACEPARENT + "\n", 7]
)
def test_a_bad_traceparent_is_dropped(value: object) -> None:
    """An invalid W3C traceparent is dropped, and the event is still accepted."""
    assert read_snapshot(load("data"), traceparent=value).traceparent is None


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark in front of the JSON changes nothing; some editors write one."""
    plain = message(load("cloudevents"))
    marked = Message(b"\xef\xbb\xbf" + plain.body)

    assert decode(plain, max_bytes=LIMIT) == decode(marked, max_bytes=LIMIT)
