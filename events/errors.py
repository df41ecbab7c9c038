"""What can be wrong with an event.

EventError
├── MalformedEvent   nothing that we know
└── InvalidEvent     an event that we know, which breaks a rule
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class EventIds:
    """As much of an event's identity as could be read; all of it unchecked text from outside."""

    event_id: str | None = None
    source: str | None = None
    type: str | None = None
    project_id: str | None = None
    volume_id: str | None = None
    snapshot_id: str | None = None


@dataclass
class EventError(Exception):
    """The event cannot be handled, today or ever: it is told as failed and dead-lettered.

    ``code`` is a short fixed word, ``message`` a sentence for the producer of the event.
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
