"""Reads CloudEvents 1.0: structured (one JSON object) and binary (attributes in AMQP headers).

https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents: spec.md, formats/json-format.md,
bindings/amqp-protocol-binding.md. Brokers and clients spell the header prefix differently; all are accepted.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from events.errors import EventIds, InvalidEvent, MalformedEvent
from events.message import WAITING, Message
from events.outcome import TYPES
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
from events.sources import cts

COMPLETED: Final = "snapshot.completed"
SOURCE_LIMIT: Final = 1024
_PREFIXES = ("cloudEvents:", "cloudEvents_", "ce-", "ce_")
_CLOUD_TRACE = re.compile(r"[0-9A-Z_-]{1,32}:CloudTrace:\w{1,32}")
_OUTCOMES = frozenset(TYPES.values())


def is_structured(value: Mapping[str, Any]) -> bool:
    """Return whether a parsed body is a CloudEvent in the JSON format."""
    return "specversion" in value


def is_binary(headers: Mapping[str, Any]) -> bool:
    """Return whether AMQP headers contain a CloudEvent's attributes."""
    return any(f"{prefix}specversion" in headers for prefix in _PREFIXES)


def read_structured(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read a CloudEvent in the JSON format. Raises ``EventError``."""
    value = parsed.value
    data = value.get("data")
    if data is None and isinstance(value.get("data_base64"), str):
        data = _from_base64(value["data_base64"], _ids(value, None))
    return _read(parsed, value, data, form="cloudevents")


def read_binary(parsed: ParsedMessage) -> SnapshotEvent | ForeignEvent:
    """Read a CloudEvent whose attributes are in the headers. Raises ``EventError``."""
    attributes = {_bare_name(key): _text(value) for key, value in parsed.message.headers.items()}
    return _read(parsed, attributes, parsed.value, form="cloudevents-binary")


def _bare_name(header: str) -> str:
    for prefix in _PREFIXES:
        if header.startswith(prefix):
            return header.removeprefix(prefix)
    return ""


def trace_of(message: Message, attributes: Mapping[str, Any]) -> str | None:
    """Return the trace context of a message: an attribute of its parsed body, or a header."""
    headers = message.headers
    names = [f"{prefix}traceparent" for prefix in (*_PREFIXES, "")]
    return traceparent(attributes.get("traceparent"), *(_text(headers.get(name)) for name in names))


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
    if type_ in _OUTCOMES:
        return ForeignEvent(form, type_)
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
    if (version := attributes.get("specversion")) != "1.0":
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
    if isinstance(data, dict):
        return data
    code = "missing_field" if data is None else "bad_field"
    raise MalformedEvent(code, "data: must be an object", _ids(attributes, data))
