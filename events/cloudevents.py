"""Reads CloudEvents 1.0: structured (one JSON object) and binary (attributes in AMQP headers).

https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents: spec.md, formats/json-format.md,
bindings/amqp-protocol-binding.md. Brokers and clients spell the header prefix differently, and HTTP bridges
change its case; all are accepted. Attributes on which nothing here depends (``time``, ``dataschema``,
extensions) are not checked.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from events.errors import EventIds, InvalidEvent, MalformedEvent
from events.message import WAITING, Message
from events.outcome import PROBE, TYPES
from events.reading import (
    ParsedMessage,
    parse_object,
    plain_id,
    snapshot_event,
    some_ids,
    traceparent,
    truncate,
)
from events.snapshot import ForeignEvent, SnapshotEvent
from events.sources import cts, kubernetes

COMPLETED: Final = "snapshot.completed"
SOURCE_LIMIT: Final = 1024
_HEADER = re.compile(r"(?:cloud-?events?|ce)[-_:.](\w{1,64})", re.IGNORECASE)
_REQUIRED: Final = frozenset({"specversion", "id", "source", "type"})
_JSON_TYPE = re.compile(r"\s*(?:[\w.-]+/(?:[\w.+-]+\+)?json)\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_CLOUD_TRACE = re.compile(r"[0-9A-Z_-]{1,32}:CloudTrace:\w{1,32}")
OURS: Final = frozenset({*TYPES.values(), PROBE})
"""The types that we publish ourselves: another binding may bring them back into our queue."""


def is_structured(value: Mapping[str, Any]) -> bool:
    """Return whether a parsed body is a CloudEvent in the JSON format."""
    return "specversion" in value


def header_attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the CloudEvents attributes in AMQP headers, of any prefix and in any case.

    Raises:
        MalformedEvent: ``bad_field``, if two headers give an attribute different values.

    """
    found: dict[str, Any] = {}
    for header, value in headers.items():
        if match := _HEADER.fullmatch(header):
            name, text = match[1].lower(), _text(value)
            if found.setdefault(name, text) != text:
                raise MalformedEvent("bad_field", f"{name[:64]}: two headers give it different values")
    return found


def is_binary(attributes: Mapping[str, Any]) -> bool:
    """Return whether attributes from headers are a CloudEvent's: one that is required suffices."""
    return not _REQUIRED.isdisjoint(attributes)


def read_structured(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read a CloudEvent in the JSON format. Raises ``EventError``."""
    value = parsed.value
    data = value.get("data")
    if isinstance(encoded := value.get("data_base64"), str):
        if data is not None:
            raise MalformedEvent("bad_field", "data and data_base64: only one may be set", _ids(value, None))
        data = _from_base64(encoded, _ids(value, None))
    return _read(parsed, value, data, form="cloudevents")


def read_binary(parsed: ParsedMessage, attributes: Mapping[str, Any]) -> SnapshotEvent | ForeignEvent:
    """Read a CloudEvent whose attributes are in the headers. Raises ``EventError``."""
    return _read(parsed, attributes, parsed.value, form="cloudevents-binary")


def check_headers(attributes: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Check that the headers of a structured CloudEvent name no other type. Raises ``MalformedEvent``."""
    named = attributes.get("type", value.get("type"))
    if named != value.get("type"):
        text = f"type: the headers say {truncate(named)!r}, the body says {truncate(value.get('type'))!r}"
        raise MalformedEvent("bad_field", text, _ids(value, value.get("data")))


def trace_of(message: Message, attributes: Mapping[str, Any]) -> str | None:
    """Return the trace context of a message: an attribute of its parsed body, or a header."""
    found: dict[bool, object] = {}
    for name, value in message.headers.items():
        match = _HEADER.fullmatch(name)
        if (match[1] if match else name).lower() == "traceparent":
            found[match is None] = _text(value)
    return traceparent(attributes.get("traceparent"), found.get(False), found.get(True))


def _text(value: object) -> object:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _from_base64(text: str, ids: EventIds) -> dict[str, Any]:
    try:
        return parse_object(base64.b64decode(text, validate=True), ids)
    except ValueError:
        raise MalformedEvent("bad_field", "data_base64: not base64", ids) from None


def _ids(attributes: Mapping[str, Any], data: object) -> EventIds:
    return some_ids(attributes.get("id"), attributes.get("source"), attributes.get("type"), data)


def _read(
    parsed: ParsedMessage, attributes: Mapping[str, Any], data: object, *, form: str
) -> SnapshotEvent | ForeignEvent:
    _check(attributes, data)
    type_ = attributes["type"]
    if type_ == COMPLETED:
        return _completed(parsed, attributes, _object(attributes, data), form)
    if _CLOUD_TRACE.fullmatch(type_):
        trace = ParsedMessage(parsed.message, _object(attributes, data))
        return cts.read_trace(trace, form="eventgrid", carrier=attributes)
    if type_ in OURS:
        return ForeignEvent(form, type_)
    if type_.startswith(kubernetes.KNATIVE):
        return kubernetes.read_knative(parsed, attributes, _object(attributes, data))
    if type_ == WAITING:
        raise MalformedEvent(
            "bad_waiting", "a waiting message that is damaged or nested", _ids(attributes, data)
        )
    raise MalformedEvent(
        "unknown_type", f"CloudEvents type {truncate(type_)!r} is unknown", _ids(attributes, data)
    )


def _completed(
    parsed: ParsedMessage, attributes: Mapping[str, Any], data: dict[str, Any], form: str
) -> SnapshotEvent:
    return snapshot_event(
        parsed,
        form=form,
        event_id=attributes["id"],
        source=attributes["source"],
        type_=COMPLETED,
        data=data,
        metadata=data.get("metadata"),
        trace=attributes.get("traceparent"),
    )


def _check(attributes: Mapping[str, Any], data: object) -> None:
    """Check the four required attributes."""
    if (version := attributes.get("specversion")) is None:
        raise MalformedEvent("missing_field", "specversion: is missing", _ids(attributes, data))
    if version != "1.0":
        text = f"CloudEvents specversion {truncate(version)!r} is not 1.0"
        raise MalformedEvent("unknown_version", text, _ids(attributes, data))
    for name in ("id", "source", "type"):
        if not isinstance(value := attributes.get(name), str) or not value:
            code = "bad_field" if value else "missing_field"
            raise MalformedEvent(code, f"{name}: must be a text that is not empty", _ids(attributes, data))
    if plain_id(attributes["id"]) is None:
        text = "id: must be at most 256 characters without control characters"
        raise InvalidEvent("bad_id", text, _ids(attributes, data))
    if len(attributes["source"]) > SOURCE_LIMIT:
        raise InvalidEvent("bad_field", "source: is too long", _ids(attributes, data))


def _object(attributes: Mapping[str, Any], data: object) -> dict[str, Any]:
    """Return the data, which may be JSON in a text. Raises ``MalformedEvent``."""
    if isinstance(data, dict):
        return data
    ids, type_ = _ids(attributes, data), attributes.get("datacontenttype")
    if isinstance(data, str) and data[:64].lstrip().startswith("{"):
        return parse_object(data, ids)
    code = "missing_field" if data is None else "bad_field"
    is_json = not isinstance(type_, str) or not type_ or _JSON_TYPE.fullmatch(type_)
    raise MalformedEvent(
        code, "data: must be an object" + ("" if is_json else f", not {truncate(type_)!r}"), ids
    )
