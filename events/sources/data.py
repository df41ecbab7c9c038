"""Reads the bare ``data`` object of a ``snapshot.completed`` event, which operators and replay tools send.

It is the one form without a mark of its own. So it is refused if anything beside it names another type: a
field, a header, or the property ``type``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from events.errors import MalformedEvent
from events.message import Message
from events.reading import ParsedMessage, snapshot_event, some_ids, truncate
from events.snapshot import SnapshotEvent

_NAME_LIMIT = 40
_TYPES: Final = frozenset(
    {"type", "eventtype", "event", "eventname", "detailtype", "action", "operation", "messagetype", "msgtype"}
    | {"messagename", "notificationtype", "typeid", "pattern", "rbs2msgtype", "enclosedmessagetypes"}
)
"""Names of fields and headers for an event's type: lower case, without separators and a leading ``x``.

``typeid`` is Spring's ``__TypeId__``, ``pattern`` Nest's, the last two those of Rebus and NServiceBus.
"""
_KEYS: Final = frozenset({"routingkey", "topic"})
"""Names for a routing key, which may also be the name of a channel that says nothing of the type."""
_ENVELOPES: Final = ("meta", "header", "headers", "envelope", "attributes")
_COMPLETED: Final = frozenset({"snapshotcompleted", "snapshotcomplete", "snapshotcreateend", "completed"})
_NO_TYPE: Final = frozenset(
    {"", "snapshot", "json", "dict", "map", "object", "event", "message", "notification"}
)
"""Texts that are found where a type belongs and name none."""
_LANGUAGE = re.compile(r"(?:java|kotlin|scala|system)\.[\w.$,`\[\] ]{1,200}", re.IGNORECASE)
"""A type of a programming language, such as Spring's ``java.util.LinkedHashMap``."""
_ABOUT_A_RESOURCE = re.compile(r"(?:snapshot|volume|backup)s?[.:/_-]", re.IGNORECASE)


def is_data(value: Mapping[str, Any]) -> bool:
    """Return whether the object has one of our field names for a snapshot or volume id."""
    return "snapshot_id" in value or "volume_id" in value


def read(parsed: ParsedMessage) -> SnapshotEvent:
    """Read the object; it has no event id, so the same text is the same event.

    With a ``status`` other than ``available`` it proves no more than a request.

    Raises:
        InvalidEvent: a field is missing or wrong.
        MalformedEvent: something names another type.

    """
    _check(parsed)
    return snapshot_event(
        parsed,
        form="data",
        event_id=None,
        source="data",
        type_="snapshot.completed",
        data=parsed.value,
        proves="completed" if _is_complete(parsed.value) else "requested",
        metadata=parsed.value.get("metadata"),
    )


def _is_complete(value: Mapping[str, Any]) -> bool:
    return value.get("status") in (None, "", "available", "completed") and not value.get("deleted")


def _check(parsed: ParsedMessage) -> None:
    """Check that nothing says that this is another event. Raises ``MalformedEvent``."""
    for where, text in _named_types(parsed.message, parsed.value):
        raise MalformedEvent(
            "unknown_type",
            f"{where} names another type than snapshot.completed: {truncate(text)!r}",
            some_ids(None, None, text, parsed.value),
        )


def _named_types(message: Message, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where another type is named, and that type."""
    places = [("the field", value), ("the header", message.headers)]
    places += [
        (f"in {name}, the field", value[name]) for name in _ENVELOPES if isinstance(value.get(name), dict)
    ]
    for where, fields in places:
        for name, found in fields.items():
            if (
                len(name) <= _NAME_LIMIT
                and found
                and _is_other(_normal(name).removeprefix("x").removeprefix("nservicebus"), found)
            ):
                yield f"{where} {name}", found if isinstance(found, str) else type(found).__name__
    if _is_other("type", type_ := message.properties.get("type", "")):
        yield "the property type", type_


def _is_other(name: str, found: object) -> bool:
    """Return whether a value under a name, which is in lower case, is another type than ours."""
    if name in _KEYS:
        return isinstance(found, str) and bool(_ABOUT_A_RESOURCE.match(found)) and not _is_completed(found)
    return name in _TYPES and not (isinstance(found, str) and (_says_nothing(found) or _is_completed(found)))


def _says_nothing(text: str) -> bool:
    return _normal(text) in _NO_TYPE or _LANGUAGE.fullmatch(text) is not None


def _is_completed(text: str) -> bool:
    """Return whether a text is our type in any spelling, also with the name of a package in front of it."""
    parts = [_normal(part) for part in re.split(r"[.:/+]", text[:200].partition(",")[0])]
    return any("".join(parts[-count:]) in _COMPLETED for count in (1, 2, 3))


def _normal(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
