"""What can be wrong with an event.

EventError
├── MalformedEvent   nothing that we know
└── InvalidEvent     an event that we know, which breaks a rule
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, NamedTuple

CODES: Final[Mapping[str, str]] = {
    # malformed: nothing that we know
    "too_large": "more bytes than MAX_BODY_BYTES",
    "bad_headers": "a header with more than 32 levels of tables and arrays",
    "not_utf8": "the body is not UTF-8 text",
    "not_json": "the body is not JSON, or has NaN, a lone surrogate or a number without end",
    "too_deep": "more than 200 levels of JSON, or more than 4 envelopes in each other",
    "not_object": "the body is JSON, but not an object",
    "unknown_form": "an object of no form that is known here",
    "unknown_version": "a CloudEvent that is not 1.0, or a notification that is not oslo 2.x",
    "unknown_type": "a CloudEvent of a type that is not known here",
    "bad_waiting": "a waiting message that is damaged, or inside another",
    "no_event": "an envelope with nothing inside",
    "several_events": "an envelope with several events; each has its own outcome, so each is published alone",
    # malformed or invalid, by where it is
    "missing_field": "a field that must be there is not",
    "bad_field": "a field of the wrong type, or against its rule",
    # invalid: an event that we know
    "bad_id": "an event id that is too long or has control characters",
}
"""Every ``code`` that decoding gives, and what it means."""


class EventIds(NamedTuple):
    """As much of an event's identity as could be read; all of it unchecked text from outside."""

    event_id: str | None = None
    source: str | None = None
    type: str | None = None
    project_id: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None


@dataclass(eq=False)  # an exception is compared, and hashed, by identity
class EventError(Exception):
    """The event cannot be handled, today or ever: it is told as failed and dead-lettered.

    ``code`` is a short fixed word (``CODES``, and the handler's own), ``message`` a sentence for the
    producer of the event.
    """

    code: str
    message: str
    ids: EventIds = field(default_factory=EventIds)
    category: ClassVar[Literal["malformed", "invalid"]]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class MalformedEvent(EventError):
    """The message is not an event that we know."""

    category = "malformed"


class InvalidEvent(EventError):
    """The event, or the request made of it, breaks a rule."""

    category = "invalid"
