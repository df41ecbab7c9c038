"""Unpacks envelopes: messages that contain one or more messages of the other forms.

The envelopes are EventGrid's publishing API, SMN, FunctionGraph's queue triggers, and FunctionGraph's record
of an asynchronous invocation. Each function unpacks one level.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from events.errors import MalformedEvent
from events.message import Message
from events.reading import plain_id

QUEUE_TRIGGERS: Final = frozenset({"RABBITMQ", "KAFKA", "ROCKETMQ"})


class Part(NamedTuple):
    """One message from an envelope, and its id in the envelope, if any."""

    message: Message
    carrier_id: str | None = None


def dump(value: object) -> Message:
    """Serialise a value that arrived parsed; a text is the body unchanged. Never raises.

    For a value that JSON cannot represent, or that is nested too deeply, the body is a short description.
    """
    try:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        text = f"a {type(value).__name__} that is not JSON: {type(error).__name__}"
    return Message(text.encode("utf-8", "surrogatepass"))


def eventgrid(value: Mapping[str, Any]) -> Sequence[Part]:
    """Unpack ``{"events": [CloudEvent, …]}``."""
    return [Part(dump(event)) for event in _list(value, "events")]


def smn(value: Mapping[str, Any]) -> Sequence[Part]:
    """Unpack ``{"record": [{"smn": {"message": text}}, …]}``."""
    return [_smn_part(record) for record in _list(value, "record")]


def _smn_part(record: object) -> Part:
    notification = record.get("smn") if isinstance(record, dict) else None
    if not isinstance(notification, dict) or not isinstance(notification.get("message"), str):
        raise MalformedEvent("bad_field", "record: each must have smn.message, a text")
    return Part(dump(notification["message"]), plain_id(notification.get("message_id")))


def queue_trigger(value: Mapping[str, Any]) -> Sequence[Part]:
    """Unpack ``records[].messages[]``, or the older generation's flat ``messages[]``."""
    records = _list(value, "records") if "records" in value else [value]
    if not all(isinstance(record, dict) for record in records):
        raise MalformedEvent("bad_field", "records: each must be an object")
    return [Part(dump(_body(message))) for record in records for message in _list(record, "messages")]


def _body(message: object) -> object:
    """Return a trigger's message; in one type definition it is an object with the key ``message``."""
    return message["message"] if isinstance(message, dict) and "message" in message else message


def asynchronous(value: Mapping[str, Any]) -> Sequence[Part]:
    """Unpack the record of an asynchronous invocation: the event that the function was called with."""
    if (payload := value.get("request_payload")) is None:
        raise MalformedEvent("missing_field", "request_payload: is missing")
    return [Part(dump(payload))]


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(items := value.get(key), list):
        raise MalformedEvent("bad_field", f"{key}: must be a list")
    return items
