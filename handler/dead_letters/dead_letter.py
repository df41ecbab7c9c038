"""A dead letter as an operator sees it, and the message that replays it.

Three kinds are in the queue: messages that this program dead-lettered (``dl-`` headers say why), messages
that the broker dead-lettered (``x-death``; the body may be that of a waiting message), and messages that
other programs published there.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from events.decode import decode, ids_of, parse_message
from events.errors import EventError, EventIds
from events.message import Message, State, wrap
from events.outcome import Category
from events.republish import restored
from events.snapshot import SnapshotEvent
from events.state_keys import StateKeys

UNKNOWN = "unknown"
"""The category of a message that has neither ``dl-`` headers nor ``x-death``."""

_NAMESPACE = uuid.UUID("2f6e0c64-7c1b-5b0a-a3de-0d6d0f5c9b21")
_SHORT = 12
_RUNNING_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
"""Headers in which the broker counts deliveries; they are not part of the message."""
_DEATH = re.compile(r"x-(death$|first-death-|last-death-)")
_MAX_BYTES = 1_048_576
_BY_THE_BROKER = ("rejected", "expired", "maxlen", "delivery_limit")
"""RabbitMQ's own reasons to dead-letter a message."""

CATEGORIES: Final = tuple(dict.fromkeys((*map(str, Category), *_BY_THE_BROKER, UNKNOWN)))
"""Every category that a dead letter can have, unless another program invents one."""


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter, read on demand, since most messages are only counted or skipped.

    ``delivered`` is the message as the broker delivered it. No property raises, whatever it contains.
    """

    delivered: Message

    @cached_property
    def message(self) -> Message:
        """The message as it is in the queue, with live tokens in its body blanked."""
        headers = self.delivered.headers
        kept = {key: value for key, value in headers.items() if key not in _RUNNING_COUNTS}
        return self.delivered.blanked()._replace(headers=kept)

    @cached_property
    def death(self) -> "Death":
        """Why and when the message was dead-lettered."""
        return _death(self.delivered.headers)

    @property
    def category(self) -> str:
        """The error's category, the broker's reason, or ``UNKNOWN``."""
        return self.death.category

    @property
    def code(self) -> str | None:
        """The error's code."""
        return self.death.code

    @property
    def dead_at(self) -> datetime | None:
        """The time at which it was dead-lettered."""
        return self.death.at

    @property
    def reason(self) -> str:
        """The error's message."""
        return self.death.reason

    @property
    def status(self) -> int | None:
        """The HTTP status of the API's answer."""
        return _number(self.delivered.headers, "dl-status")

    @property
    def attempts(self) -> int:
        """The number of attempts."""
        return _number(self.delivered.headers, "dl-attempts") or 0

    @property
    def first_seen(self) -> datetime | None:
        """The time of its first delivery to a worker."""
        return _time(self.delivered.headers.get("dl-first-seen"))

    @cached_property
    def _ids(self) -> EventIds:
        return _ids_of_headers(self.delivered.headers) or _ids_of_body(self.message)

    @property
    def event_id(self) -> str:
        """The event's id, or one derived from the message's bytes."""
        return self._ids.event_id or self.message.derived_id

    @property
    def project_id(self) -> str | None:
        """The project of the snapshot."""
        return self._ids.project_id

    @property
    def volume_id(self) -> str | None:
        """The volume of the snapshot."""
        return self._ids.volume_id

    @property
    def snapshot_id(self) -> str | None:
        """The snapshot that the event names."""
        return self._ids.snapshot_id

    @cached_property
    def replay_id(self) -> str:
        """The id of the replay, derived from event, time and bytes.

        Two identical messages without a time share one id.
        """
        at = self.dead_at.isoformat() if self.dead_at else ""
        return str(uuid.uuid5(_NAMESPACE, f"{self.event_id}\n{at}\n{self.message.derived_id}"))

    @property
    def id(self) -> str:
        """The short ID that the commands show and accept."""
        return self.replay_id.replace("-", "")[:_SHORT]

    def facts(self) -> dict[str, Any]:
        """Return its fields as JSON values; times in ISO 8601."""
        return {
            "id": self.id,
            "category": self.category,
            "code": self.code,
            "status": self.status,
            "reason": self.reason,
            "attempts": self.attempts,
            "event_id": self.event_id,
            "project_id": self.project_id,
            "volume_id": self.volume_id,
            "snapshot_id": self.snapshot_id,
            "first_seen": self.first_seen.isoformat() if self.first_seen else None,
            "dead_at": self.dead_at.isoformat() if self.dead_at else None,
        }

    def original(self) -> Message:
        """Return the message as it first arrived, without what this program and the broker added."""
        message, *_ = parse_message(self.message, now=0.0)
        if message is self.message:
            message = _without_death(message)
        return restored(message.blanked())

    def sent_back(self, *, now: float, keys: StateKeys | None) -> bytes:
        """Return the body of the replayed message: the original with a fresh state, signed with ``keys``.

        The state carries ``replay_id``. To the ledger, a dead letter that is replayed twice is one cause; a
        message that was dead-lettered again is another cause.
        """
        state = State(first_seen=now, replay=self.replay_id)
        return wrap(self.original(), state, event_id=self.event_id, subject=self.snapshot_id, keys=keys)


@dataclass(frozen=True, slots=True)
class Death:
    """Why a message was dead-lettered: category, code, reason and time."""

    category: str
    code: str | None
    reason: str
    at: datetime | None


def _without_death(message: Message) -> Message:
    """Return a message without the headers that a broker adds when it dead-letters."""
    headers = {key: value for key, value in message.headers.items() if not _DEATH.match(key)}
    return message._replace(headers=headers)


def _ids_of_headers(headers: Mapping[str, Any]) -> EventIds | None:
    """Return the ids of the ``dl-`` headers; None if there are none."""
    event_id = _text(headers, "dl-event-id")
    if event_id is None:
        return None
    return EventIds(
        event_id=event_id,
        project_id=_text(headers, "dl-project-id"),
        volume_id=_text(headers, "dl-volume-id"),
        snapshot_id=_text(headers, "dl-snapshot-id"),
    )


def _ids_of_body(message: Message) -> EventIds:
    """Return the ids that can be read from the body."""
    original, *_ = parse_message(message, now=0.0)
    try:
        event = decode(original, max_bytes=_MAX_BYTES)
    except EventError as error:
        return error.ids
    return ids_of(event) if isinstance(event, SnapshotEvent) else EventIds()


def _death(headers: Mapping[str, Any]) -> Death:
    if category := _text(headers, "dl-category"):
        reason = _text(headers, "dl-message") or ""
        return Death(category, _text(headers, "dl-code"), reason, _time(headers.get("dl-dead-at")))
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(death := deaths[0], dict):
        category = _text(death, "reason") or UNKNOWN
        reason = f"dead-lettered by the broker from {_text(death, 'queue') or 'a queue'}: {category}"
        return Death(category, None, reason, _time(death.get("time")))
    return Death(UNKNOWN, None, "published here by another program", None)


def _text(headers: Mapping[str, Any], key: str) -> str | None:
    value = headers.get(key)
    return value if isinstance(value, str) and value else None


def _number(headers: Mapping[str, Any], key: str) -> int | None:
    value = headers.get(key)
    return int(value) if isinstance(value, int) else None


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(found, datetime):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
