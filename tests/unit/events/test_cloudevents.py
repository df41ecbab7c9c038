"""Unit tests of CloudEvents 1.0, in and out, checked with the ``cloudevents`` package."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.amqp import AMQPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from events.decode import decode
from events.examples import OUTCOME_EVENTS, SNAPSHOT_DATA, SNAPSHOT_EVENT
from events.message import Message
from events.snapshot import ForeignEvent, SnapshotCompleted, SnapshotEvent
from tests.unit.events.forms import (
    LIMIT,
    PROJECT,
    SNAPSHOT,
    TRACEPARENT,
    load,
    read,
    read_snapshot,
    refusal,
    refusal_of,
)

ATTRIBUTES = {key: value for key, value in SNAPSHOT_EVENT.items() if key != "data"}
EXPECTED = SnapshotCompleted.model_validate(SNAPSHOT_DATA)


def published(how: Callable[..., AMQPMessage]) -> Message:
    """Return a message as the library publishes it in one of its modes."""
    attributes = {**ATTRIBUTES, "time": datetime(2026, 3, 4, 2, 15, 9, tzinfo=UTC)}
    made = how(CloudEvent(attributes, SNAPSHOT_DATA), JSONFormat())
    return Message(made.application_data, made.properties.get("content-type"), made.application_properties)


@pytest.mark.parametrize("how", [to_binary, to_structured])
def test_an_event_that_the_library_publishes_is_read(how: Callable[..., AMQPMessage]) -> None:
    """Both modes of the AMQP binding give the same event."""
    event = decode(published(how), max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    expected = (SNAPSHOT_EVENT["id"], SNAPSHOT_EVENT["source"], TRACEPARENT, EXPECTED)
    assert expected == (event.id, event.source, event.traceparent, event.snapshot)


@pytest.mark.parametrize("type_", OUTCOME_EVENTS)
def test_the_library_reads_what_we_publish(type_: str) -> None:
    """The library accepts each outcome as a CloudEvent and finds its attributes."""
    event = JSONFormat().read(CloudEvent, json.dumps(OUTCOME_EVENTS[type_]))

    assert (type_, SNAPSHOT, SNAPSHOT_EVENT["id"]) == (
        event.get_type(),
        event.get_subject(),
        event.get_extension("correlationid"),
    )


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_", "ce-", "ce_"])
def test_binary_mode_is_read_in_each_spelling(prefix: str) -> None:
    """Each spelling of the header prefix that clients use is accepted."""
    headers = {f"{prefix}{key}": value for key, value in ATTRIBUTES.items()}

    event = read_snapshot(SNAPSHOT_DATA, **headers, unrelated=1)

    assert ("cloudevents-binary", ATTRIBUTES["id"], EXPECTED) == (event.form, event.id, event.snapshot)


def test_binary_attributes_may_be_bytes() -> None:
    """Attributes that an AMQP client sends as byte arrays are read as texts."""
    headers = {f"cloudEvents:{key}": value.encode() for key, value in ATTRIBUTES.items()}

    assert ATTRIBUTES["id"] == read_snapshot(SNAPSHOT_DATA, **headers).id


def test_data_in_base64_is_read() -> None:
    """Data in ``data_base64``, which the JSON format uses for binary data, is read."""
    data = base64.b64encode(json.dumps(SNAPSHOT_DATA).encode()).decode()

    assert EXPECTED == read_snapshot({**ATTRIBUTES, "data_base64": data}).snapshot


@pytest.mark.parametrize(
    ("data", "code"),
    [("%%%", "bad_field"), ("e30", "bad_field"), ("W10=", "not_object"), ("/w==", "not_utf8")],
)
def test_bad_data_in_base64_is_refused(data: str, code: str) -> None:
    """Data that is not base64, or not a JSON object inside it, is refused."""
    assert code == refusal_of({**ATTRIBUTES, "data_base64": data}).code


@pytest.mark.parametrize("type_", OUTCOME_EVENTS)
def test_our_own_outcomes_are_foreign(type_: str) -> None:
    """Our outcomes are ignored, so that no loop arises if the result exchange is bound to the queue."""
    assert ForeignEvent("cloudevents", type_) == read(OUTCOME_EVENTS[type_])


@pytest.mark.parametrize(
    ("change", "category", "code"),
    [
        ({"specversion": "0.3"}, "malformed", "unknown_version"),
        ({"specversion": 1.0}, "malformed", "unknown_version"),
        ({"type": "snapshot.deleted"}, "malformed", "unknown_type"),
        ({"type": "snapshot-backup.waiting"}, "malformed", "bad_waiting"),
        ({"type": None}, "malformed", "missing_field"),
        ({"type": ["snapshot.completed"]}, "malformed", "bad_field"),
        ({"id": ""}, "malformed", "missing_field"),
        ({"id": 7}, "malformed", "bad_field"),
        ({"source": None}, "malformed", "missing_field"),
        ({"data": None}, "malformed", "missing_field"),
        ({"data": "text"}, "malformed", "bad_field"),
        ({"id": "x" * 257}, "invalid", "bad_id"),
        ({"id": "a\x00b"}, "invalid", "bad_id"),
        ({"id": "a\nb"}, "invalid", "bad_id"),
        ({"source": "x" * 1025}, "invalid", "bad_field"),
    ],
)
def test_an_event_that_breaks_the_specification_is_refused(
    change: dict[str, Any], category: str, code: str
) -> None:
    """Each broken rule of CloudEvents has its category and code."""
    error = refusal_of({**SNAPSHOT_EVENT, **change})

    assert (category, code) == (error.category, error.code)


def test_an_id_of_256_characters_is_accepted() -> None:
    """An event id of exactly 256 characters is allowed."""
    assert "é" * 256 == read_snapshot({**SNAPSHOT_EVENT, "id": "é" * 256}).id


def test_a_refusal_has_the_ids_of_the_event() -> None:
    """The error has all ids that could be read, shortened if they are too long."""
    data = {**SNAPSHOT_DATA, "volume_id": "v" * 1000}

    ids = refusal_of({**SNAPSHOT_EVENT, "data": data}).ids

    expected = (SNAPSHOT_EVENT["id"], "snapshot.completed", PROJECT, "v" * 256, SNAPSHOT)
    assert expected == (ids.event_id, ids.type, ids.project_id, ids.volume_id, ids.snapshot_id)


def test_a_refused_id_is_replaced_by_a_derived_one() -> None:
    """Two events with refused ids that begin alike have different derived ids."""
    first, second = (refusal_of({**SNAPSHOT_EVENT, "id": "x" * 300 + end}).ids for end in "ab")

    assert first.event_id != second.event_id


def test_the_body_of_a_cloudevent_wins_over_headers() -> None:
    """An event that is structured and has binary headers, too, is read from its body."""
    headers = {"cloudEvents:specversion": "1.0", "cloudEvents:id": "other"}

    event = read_snapshot(load("cloudevents"), **headers)

    assert ("cloudevents", load("cloudevents")["id"]) == (event.form, event.id)


def test_binary_mode_without_an_id_is_refused() -> None:
    """A binary event without the required attribute ``id`` in its headers is refused."""
    body = json.dumps(SNAPSHOT_DATA).encode()

    assert "missing_field" == refusal(body, headers={"cloudEvents:specversion": "1.0"}).code
