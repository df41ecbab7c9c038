"""Decodes a message into an event: recognises its form, and reads it.

The forms are tried in a fixed order, which matters where one form has the marks of another. A message of no
known form is malformed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from events import cloudevents
from events.encoding import BOM, is_plain, json_bytes
from events.errors import EventError, EventIds, MalformedEvent
from events.headers import MAX_DEPTH
from events.json_texts import JsonTexts
from events.message import WAITING, Message, State, unwrap_original, unwrap_state
from events.reading import ParsedMessage, parse_json, parse_object
from events.snapshot import ForeignEvent, SnapshotEvent
from events.sources import cinder, cts, data, envelopes, kubernetes
from events.sources.envelopes import Part
from events.state_keys import StateKeys

Event = SnapshotEvent | ForeignEvent

MAX_ENVELOPES: Final = 4
"""Envelopes inside each other: an asynchronous call, a trigger, a notification and an event."""
MAX_MESSAGES: Final = 10_000
"""Messages in one call of the function."""
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one event in a batch; each is then held to MAX_BODY_BYTES."""

_WAITING_MARK = f'"{WAITING}"'.encode()
_MAX_WAITING_VALUES = 500_000


class Parsed(NamedTuple):
    """The original message and its state.

    ``believed`` is False for a waiting message whose state was dropped: no key of ours has signed it, or it
    is invalid.
    """

    original: Message
    state: State
    believed: bool = True


def parse_message(message: Message, *, now: float, keys: StateKeys | None = None) -> Parsed:
    """Return the original message and its state; ``now`` is in seconds since the epoch. Never raises.

    A message that is not waiting is its own original, first seen now. Of a waiting message that ``keys`` do
    not verify, only the original is read: it is an event from outside, first seen now. Without ``keys`` the
    state is believed within bounds. A waiting message whose original cannot be read is its own original,
    which ``decode`` refuses.

    The size is not limited here: a message that is too large may wait until its failure is published, and
    must be unwrapped unchanged.
    """
    value = _waiting(message.body)
    if value is None:
        return Parsed(message, State(first_seen=now))
    try:
        original = unwrap_original(value)
    except ValueError:
        return Parsed(message, State(first_seen=now), believed=False)
    state = _state(message.body, value, keys)
    if state is None:
        return Parsed(original, State(first_seen=now), believed=False)
    return Parsed(original, state.until(now))


def _waiting(body: bytes) -> Mapping[str, Any] | None:
    """Parse a body; None where it is no waiting message."""
    if _WAITING_MARK in body and body.count(b",") < _MAX_WAITING_VALUES:
        with suppress(MalformedEvent):
            value = parse_json(body, unique=False)
            return value if isinstance(value, dict) and value.get("type") == WAITING else None
    return None


def _state(body: bytes, value: Mapping[str, Any], keys: StateKeys | None) -> State | None:
    """Return the state of a parsed waiting message; None where it is not believed."""
    try:
        if keys is None:
            return unwrap_state(value).unauthenticated()
        return unwrap_state(value) if keys.verify(body) else None
    except ValueError:
        return None


def decode(original: Message, *, max_bytes: int) -> Event:
    """Decode an original message with a body of at most ``max_bytes``.

    Raises:
        EventError: with a code of ``events.errors.CODES`` and the ids that could be read. The event id is
            always set; without one in the message it is derived from the bytes.

    """
    try:
        event = _decode_within(original, max_bytes)
    except EventError as error:
        if error.ids.event_id is None:
            error.ids = error.ids._replace(event_id=original.derived_id)
        error.traceparent = error.traceparent or cloudevents.trace_of(original, {})
        raise
    if original.bad_headers and isinstance(event, SnapshotEvent):
        names = ", ".join(original.bad_headers)
        text = f"headers that cannot be read, or of more than {MAX_DEPTH} levels: {names}"[:1024]
        raise MalformedEvent("bad_headers", text, ids_of(event), event.traceparent)
    return event


def _decode_within(original: Message, max_bytes: int) -> Event:
    if len(original.body) > max_bytes:
        raise MalformedEvent("too_large", f"{len(original.body)} bytes are more than {max_bytes}")
    body, content_type, headers, properties, _ = original
    if headers or properties or not is_plain(body) or (content_type and ";" in content_type):
        body = json_bytes(body, original.labels, max_bytes)
    return _decode(original, body)


def ids_of(event: SnapshotEvent) -> EventIds:
    """Return the ids of an event; the project id is None if the event has none."""
    snapshot = event.snapshot
    return EventIds(
        event.id, event.source, event.type, snapshot.project_id, snapshot.volume_id, snapshot.snapshot_id
    )


def unpack(event: object) -> list[Message]:
    """Return the messages in a function's event, each to be decoded alone. Never raises.

    A batch (a JSON array of objects) becomes the messages in it, as they are written. It stays whole
    if there would be more than ``MAX_MESSAGES`` in all. An event or a batch that cannot be split is one
    message, which ``decode`` then refuses: nothing is left out.
    """
    try:
        messages = _unpack(event, depth=0)
    except MalformedEvent:
        return [envelopes.dump(event)]
    if len(messages) > MAX_MESSAGES:
        return [envelopes.dump(event)]
    room = MAX_MESSAGES - len(messages)
    found: list[Message] = []
    for message in messages:
        items = _items(message, room + 1)
        room -= len(items) - 1
        found += items
    return found


def _items(message: Message, most: int) -> list[Message]:
    """Return the messages in a batch of at most ``most``; the message itself if it is no such batch."""
    if not message.body.removeprefix(BOM)[:64].lstrip(b" \t\r\n").startswith(b"["):
        return [message]
    items: list[Message] = []
    try:
        for text in JsonTexts(MAX_BATCH_BYTES).feed(message.body.decode(), last=True):
            if len(items) == most:
                return [message]
            items.append(Message(text.text.encode()))
    except ValueError:
        return [message]
    return items or [message]


def _unpack(event: object, depth: int) -> list[Message]:
    opener = _opener(event) if isinstance(event, dict) and depth < MAX_ENVELOPES else None
    if not isinstance(event, dict) or opener is None:
        return [envelopes.dump(event)]
    if opener is envelopes.smn:
        # Each record stays in its envelope, which has the id.
        return [envelopes.dump({"record": [record]}) for record in event["record"]]
    parts = opener(event)
    if opener is envelopes.asynchronous:
        return _unpack(parse_object(parts[0].message.body), depth + 1)
    return [part.message for part in parts]


def _decode(message: Message, body: bytes, carrier_id: str | None = None, depth: int = 0) -> Event:
    value = parse_json(body)
    if not isinstance(value, dict):
        raise _no_object(value)
    parsed = ParsedMessage(message, value, carrier_id)
    try:
        return _read(parsed, depth)
    except EventError as error:
        error.traceparent = error.traceparent or cloudevents.trace_of(message, parsed.value)
        raise


def _no_object(value: object) -> MalformedEvent:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        text = f"a batch of {len(value)} events: publish each alone, as snapshot-backup publish --file does"
        return MalformedEvent("several_events", text)
    return MalformedEvent("not_object", "the body is JSON, but not an object")


def _read(parsed: ParsedMessage, depth: int) -> Event:
    value, headers = parsed.value, parsed.message.headers
    if headers and cloudevents.is_binary(attributes := cloudevents.header_attributes(headers)):
        if not cloudevents.is_structured(value):
            return cloudevents.read_binary(parsed, attributes)
        cloudevents.check_headers(attributes, value)
    if reader := _reader(value):
        return reader(parsed)
    if opener := _opener(value):
        message, carrier_id = _only(opener(value), parsed, depth)
        return _decode(message, message.body, carrier_id, depth + 1)
    if value.get("trigger_type") == "TIMER":
        return ForeignEvent("timer", "TIMER")
    raise MalformedEvent("unknown_form", "the body is a JSON object of an unknown form")


def _only(parts: Sequence[Part], parsed: ParsedMessage, depth: int) -> Part:
    """Return the one message in an envelope.

    A message from a queue with several events is refused: each event has one outcome, each dead letter one
    reason.
    """
    if depth >= MAX_ENVELOPES:
        raise MalformedEvent("too_deep", "envelopes in envelopes")
    if len(parts) != 1:
        code = "several_events" if parts else "no_event"
        raise MalformedEvent(code, f"{len(parts)} events in one message; publish each alone")
    part = parts[0]
    return Part(part.message, part.carrier_id or parsed.carrier_id)


Opener = Callable[[Mapping[str, Any]], Sequence[Part]]
Reader = Callable[[ParsedMessage], Event]


def _reader(value: Mapping[str, Any]) -> Reader | None:
    """Return the function that reads the body as an event; None if it is of no known form."""
    if "cts" in value:
        return cts.read_envelope
    if cloudevents.is_structured(value):
        return cloudevents.read_structured
    if _opener(value):
        return None
    if "oslo.message" in value:
        return cinder.read_wrapped
    if "event_type" in value and "payload" in value:
        return cinder.read_bare
    if "trace_name" in value:
        return cts.read_trace
    if data.is_data(value):
        return data.read
    return kubernetes.read_watch if kubernetes.is_watch(value) else None


def _opener(value: Mapping[str, Any]) -> Opener | None:
    """Return the function that unpacks the body as an envelope; None if it is not an envelope."""
    if isinstance(value.get("events"), list):
        return envelopes.eventgrid
    if isinstance(value.get("record"), list):
        return envelopes.smn
    if isinstance(trigger := value.get("trigger_type"), str) and trigger in envelopes.QUEUE_TRIGGERS:
        return envelopes.queue_trigger
    return envelopes.asynchronous if "request_context" in value else None
