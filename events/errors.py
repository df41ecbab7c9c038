"""The errors of decoding: why a message is not a valid event.

EventError
├── MalformedEvent   not an event of a known form
└── InvalidEvent     an event of a known form that breaks a rule
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, NamedTuple

CODES: Final[Mapping[str, str]] = {
    # malformed: not an event of a known form
    "too_large": "more bytes than MAX_BODY_BYTES, as they came or decompressed",
    "bad_headers": "a header that cannot be read, or with more than 32 levels of tables and arrays",
    "bad_encoding": "a body that is compressed or encoded in a way that cannot be read, or damaged",
    "not_utf8": "the body is not UTF-8 text",
    "not_json": "the body is not JSON, or has NaN, a lone surrogate or a number without end",
    "duplicate_key": "an object that has one key twice, with different values",
    "too_deep": "more than 200 levels of JSON, or more than 4 envelopes in each other",
    "not_object": "the body is JSON, but not an object",
    "unknown_form": "a JSON object of an unknown form",
    "unknown_version": "a CloudEvent that is not 1.0, or a notification that is not oslo 2.x",
    "unknown_type": "a CloudEvent of an unknown type, or a bare object beside the name of another type",
    "bad_waiting": "a waiting message that is damaged, or inside another",
    "no_event": "an envelope without an event",
    "several_events": "a batch, or an envelope with several events; publish each alone, for its own outcome",
    # malformed or invalid, depending on where the field is
    "missing_field": "a required field is missing",
    "bad_field": "a field of the wrong type, or one that breaks its rule",
    # invalid: an event of a known form
    "bad_id": "an event id that is too long or has control characters",
}
"""Every ``code`` that decoding sets, and what it means."""


class EventIds(NamedTuple):
    """The ids of an event as far as they could be read: unchecked text from outside."""

    event_id: str | None = None
    source: str | None = None
    type: str | None = None
    project_id: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None


@dataclass(eq=False)  # an exception is compared, and hashed, by identity
class EventError(Exception):
    """An event that can never be handled: ``backup.failed`` is published, and the message is dead-lettered.

    ``code`` is a short fixed word (``CODES``, and the handler's own). ``message`` is a sentence for the
    producer of the event. ``traceparent`` is the W3C trace context that the event carries.
    """

    code: str
    message: str
    ids: EventIds = field(default_factory=EventIds)
    traceparent: str | None = None
    category: ClassVar[Literal["malformed", "invalid"]]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class MalformedEvent(EventError):
    """The message is not an event of a known form."""

    category = "malformed"


class InvalidEvent(EventError):
    """The event, or the API request made from it, breaks a rule."""

    category = "invalid"
