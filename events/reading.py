"""Functions that all forms share: parse JSON within limits, and make a checked event of the fields found."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, NoReturn

from pydantic import ValidationError
from pydantic_core import from_json

from events.encoding import BOM
from events.errors import EventIds, InvalidEvent, MalformedEvent
from events.message import Message
from events.snapshot import NAME_LIMIT, SIZE_LIMIT, SnapshotCompleted, SnapshotEvent

ID_LIMIT: Final = 256
# The characters that CloudEvents forbids in attributes; some stores cannot hold NUL at all.
_PLAIN_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ufffe\uffff]{1,256}")
# W3C Trace Context, version 00: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class ParsedMessage(NamedTuple):
    """A message and its parsed body, from which the sources read.

    ``carrier_id`` is the id of the envelope that contained it, for events without an id of their own.
    """

    message: Message
    value: dict[str, Any]
    carrier_id: str | None = None

    @property
    def fallback_id(self) -> str:
        """The event id for an event that has none."""
        return self.carrier_id or self.message.derived_id


def parse_object(body: bytes | str, ids: EventIds | None = None) -> dict[str, Any]:
    """Parse a JSON object strictly, see ``parse_json``.

    Raises:
        MalformedEvent: ``not_object``, and as ``parse_json`` does.

    """
    value = parse_json(body, ids)
    if not isinstance(value, dict):
        raise MalformedEvent("not_object", "the body is JSON, but not an object", ids or EventIds())
    return value


def parse_json(body: bytes | str, ids: EventIds | None = None, *, unique: bool = True) -> Any:
    """Parse JSON strictly: UTF-8, no NaN, no lone surrogates, at most 200 levels deep.

    A byte order mark is skipped. A key may occur twice in an object if its value is the same; if not
    ``unique``, the last value counts.

    Raises:
        MalformedEvent: ``not_utf8``, ``not_json``, ``too_deep`` or ``duplicate_key``.

    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    raw = raw.removeprefix(BOM)
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise _unreadable(raw, str(error), ids or EventIds()) from None
    if unique and _may_repeat(raw, value):
        try:
            json.loads(raw, object_pairs_hook=_unique, parse_int=str, parse_float=str)
        except _RepeatedKeyError as error:
            text = f"the key {error.key[:64]!r} occurs twice with different values; write it once"
            raise MalformedEvent("duplicate_key", text, ids or EventIds()) from None
    return value


class _RepeatedKeyError(Exception):
    def __init__(self, key: str) -> None:
        self.key = key


def _keys(value: Any) -> int:
    """Count the keys of all objects in a value."""
    if type(value) is list:
        return sum(map(_keys, value))
    if type(value) is not dict:
        return 0
    count = len(value)
    for child in value.values():
        if type(child) is not str:
            count += _keys(child)
    return count


def _may_repeat(raw: bytes, value: Any) -> bool:
    """Return whether the text may have more keys than were parsed; an exact answer takes longer."""
    if raw.count(b":") == (keys := _keys(value)):
        return False
    more = raw.count(b'":') - keys
    # JSON text inside JSON, as in Cinder's envelope, has escaped quotes.
    return b'" :' in raw or (more != 0 and (more != raw.count(b'\\":') or b'\\\\"' in raw))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        for key, found in pairs:
            if found != value[key]:
                raise _RepeatedKeyError(key)
    return value


def _unreadable(raw: bytes, reason: str, ids: EventIds) -> MalformedEvent:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return MalformedEvent("not_utf8", "the body is not UTF-8 text", ids)
    if reason.startswith("recursion limit"):
        return MalformedEvent("too_deep", "the body is nested too deeply", ids)
    return MalformedEvent("not_json", f"the body is not JSON: {reason}", ids)


def plain_id(value: object) -> str | None:
    """Return the value if it is valid as an event's id: 1 to 256 characters without control characters."""
    return value if isinstance(value, str) and _PLAIN_ID.fullmatch(value) else None


def truncate(value: object) -> str | None:
    """Return a text from outside, shortened to fit into an error; None if it is not a text."""
    return value[:ID_LIMIT] if isinstance(value, str) and value else None


def traceparent(*values: object) -> str | None:
    """Return the first value that is a valid W3C ``traceparent``."""
    for value in values:
        if isinstance(value, str) and _TRACEPARENT.fullmatch(value):
            return value
    return None


def some_ids(event_id: object, source: object, type_: object, data: object) -> EventIds:
    """Collect the readable ids of an event; ``data`` is the object with the snapshot's ids."""
    fields = data if isinstance(data, Mapping) else {}
    return EventIds(
        event_id=plain_id(event_id),
        source=truncate(source),
        type=truncate(type_),
        project_id=truncate(fields.get("project_id")),
        volume_id=truncate(fields.get("volume_id")),
        snapshot_id=truncate(fields.get("snapshot_id")),
    )


def snapshot_fields(
    *, project_id: object, volume_id: object, snapshot_id: object, name: object, size_gb: object
) -> dict[str, Any]:
    """Return the fields of a foreign form as ``data`` of ``snapshot.completed``.

    Name and size are optional: invalid ones are left out, so that the snapshot is still backed up.
    """
    fields = {
        "project_id": project_id or None,
        "volume_id": volume_id,
        "snapshot_id": snapshot_id,
        "snapshot_name": name[:NAME_LIMIT] if isinstance(name, str) else None,
        "size_gb": size_gb if type(size_gb) is int and 0 <= size_gb <= SIZE_LIMIT else None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def snapshot_event(
    parsed: ParsedMessage,
    *,
    form: str,
    event_id: str | None,
    source: str,
    type_: str,
    data: Mapping[str, Any],
    proves: Literal["completed", "requested"] = "completed",
    metadata: object = None,
    trace: object = None,
) -> SnapshotEvent:
    """Check the fields that a source has found, and make the event. Raises ``InvalidEvent``."""
    event_id = event_id or parsed.fallback_id
    try:
        snapshot = SnapshotCompleted.model_validate(data)
    except ValidationError as error:
        _refuse(error, some_ids(event_id, source, type_, data))
    return SnapshotEvent(
        id=event_id,
        source=source,
        type=type_,
        form=form,
        snapshot=snapshot,
        proves=proves,
        traceparent=traceparent(trace, parsed.message.headers.get("traceparent")),
        metadata=metadata if isinstance(metadata, dict) else {},
        availability_zone=_zone(data.get("availability_zone")),
    )


def _zone(name: object) -> str | None:
    """Return the name of an availability zone; what cannot be one is left out."""
    return name if isinstance(name, str) and 0 < len(name) <= ID_LIMIT and name.isprintable() else None


def _refuse(error: ValidationError, ids: EventIds) -> NoReturn:
    """Raise ``InvalidEvent`` for the first rule that is broken, without repeating the value."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    code = "missing_field" if problem["type"] == "missing" else "bad_field"
    where = ".".join(map(str, problem["loc"]))[:ID_LIMIT]
    raise InvalidEvent(code, f"{where}: {problem['msg']}" if where else problem["msg"], ids)
