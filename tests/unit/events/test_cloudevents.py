"""Unit tests of CloudEvents 1.0, in and out, checked with the ``cloudevents`` package."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import pytest
from cloudevents.core.bindings.amqp import AMQPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from events.decode import decode
from events.examples import OUTCOME_EVENTS, PROBE_EVENT, SNAPSHOT_DATA, SNAPSHOT_EVENT
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


def titled(header: str) -> str:
    """Return a header as HTTP libraries spell it: ``Ce-Type``."""
    return "-".join(part.capitalize() for part in header.split("-"))


@pytest.mark.parametrize("case", [str, str.lower, str.upper, titled])
@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_", "ce-", "ce_", "cloud-events-", "ce:"])
def test_binary_mode_is_read_in_each_spelling(prefix: str, case: Callable[[str], str]) -> None:
    """Each spelling of the header prefix that clients use is accepted, in any case."""
    headers = {case(f"{prefix}{key}"): value for key, value in ATTRIBUTES.items()}

    event = read_snapshot(SNAPSHOT_DATA, **headers, unrelated=1)

    assert ("cloudevents-binary", ATTRIBUTES["id"], EXPECTED) == (event.form, event.id, event.snapshot)


@pytest.mark.parametrize("type_", ["snapshot.deleted", "Snapshot.Completed", "snapshot.completed.v2"])
@pytest.mark.parametrize("header", ["Ce-Type", "ce-type", "CE_TYPE", "cloudEvents:type", "CloudEvents_Type"])
def test_headers_rule_a_binary_event(header: str, type_: str) -> None:
    """A bare object whose headers have another CloudEvents type is refused, however they are spelled."""
    attributes = {key: value for key, value in ATTRIBUTES.items() if key != "type"}
    headers = {f"ce-{key}": value for key, value in attributes.items()} | {header: type_}

    error = refusal(json.dumps(SNAPSHOT_DATA).encode(), headers=headers)

    assert ("malformed", "unknown_type", type_) == (error.category, error.code, error.ids.type)


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
def test_binary_mode_needs_each_required_attribute(missing: str) -> None:
    """A bare object whose headers have some CloudEvents attributes, but not all required ones, is refused."""
    headers = {f"Ce-{key}": value for key, value in ATTRIBUTES.items() if key != missing}

    error = refusal(json.dumps(SNAPSHOT_DATA).encode(), headers=headers)

    assert ("malformed", "missing_field", missing) == (
        error.category,
        error.code,
        error.message.partition(":")[0],
    )


def test_headers_with_two_values_are_refused() -> None:
    """Binary headers that give an attribute twice are refused if the values differ, else read."""
    headers = {f"ce-{key}": value for key, value in ATTRIBUTES.items()}

    agreeing = read_snapshot(SNAPSHOT_DATA, **headers, **{"cloudEvents:type": b"snapshot.completed"})
    differing = refusal(
        json.dumps(SNAPSHOT_DATA).encode(), headers={**headers, "CE_type": "snapshot.deleted"}
    )

    assert (ATTRIBUTES["id"], "bad_field") == (agreeing.id, differing.code)


def test_a_structured_event_is_refused_beside_another_type() -> None:
    """A structured event is refused if its headers name another type, and read if they repeat its own."""
    repeated = read_snapshot(SNAPSHOT_EVENT, **{"Ce-Type": "snapshot.completed"})
    other = refusal(json.dumps(SNAPSHOT_EVENT).encode(), headers={"Ce-Type": "snapshot.deleted"})

    assert (SNAPSHOT_EVENT["id"], "bad_field") == (repeated.id, other.code)
    assert "the headers say 'snapshot.deleted'" in other.message


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json; charset=utf-8",
        "Application/CloudEvents+JSON;charset=UTF-8; profile=x",
        "application/json",
        None,
    ],
)
def test_structured_mode_is_read_with_any_content_type(content_type: str | None) -> None:
    """A structured event is read with parameters in its content type, in any case, and without one."""
    event = decode(Message(json.dumps(SNAPSHOT_EVENT).encode(), content_type), max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    assert EXPECTED == event.snapshot


@pytest.mark.parametrize(
    "extra",
    [
        {"time": "yesterday"},
        {"time": 7},
        {"dataschema": "not a URI"},
        {"datacontenttype": "text/plain"},
        {"odd-Name.ä": {"nested": [1]}},
        {"x" * 300: None},
        {"data_base64": None},
    ],
    ids=str,
)
def test_attributes_on_which_nothing_depends_are_not_checked(extra: dict[str, Any]) -> None:
    """An event is read although an attribute that the program does not use breaks the specification."""
    assert EXPECTED == read_snapshot({**SNAPSHOT_EVENT, **extra}).snapshot


@pytest.mark.parametrize("space", ["", " \n"])
def test_data_may_be_json_in_a_text(space: str) -> None:
    """Data that was encoded twice, as JSON in a text, is read."""
    assert EXPECTED == read_snapshot({**SNAPSHOT_EVENT, "data": space + json.dumps(SNAPSHOT_DATA)}).snapshot


def test_data_of_another_content_type_is_named() -> None:
    """Data that is no object is refused, and the reason has the content type if that is not JSON."""
    error = refusal_of({**SNAPSHOT_EVENT, "data": "<snapshot/>", "datacontenttype": "text/xml"})

    assert "data: must be an object, not 'text/xml'" == error.message


def test_an_event_with_two_data_is_refused() -> None:
    """An event with both ``data`` and ``data_base64`` is refused, since they may differ."""
    assert "bad_field" == refusal_of({**SNAPSHOT_EVENT, "data_base64": "e30="}).code


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


@pytest.mark.parametrize("event", [*OUTCOME_EVENTS.values(), PROBE_EVENT], ids=itemgetter("type"))
def test_what_we_publish_ourselves_is_foreign(event: dict[str, Any]) -> None:
    """Our outcomes and probes are ignored: no loop arises if the result exchange is bound to the queue."""
    assert ForeignEvent("cloudevents", event["type"]) == read(event)


@pytest.mark.parametrize(
    ("change", "category", "code"),
    [
        ({"specversion": "0.3"}, "malformed", "unknown_version"),
        ({"specversion": "1.0.2"}, "malformed", "unknown_version"),
        ({"specversion": "1"}, "malformed", "unknown_version"),
        ({"specversion": None}, "malformed", "missing_field"),
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
