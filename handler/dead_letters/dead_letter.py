"""A dead letter as an operator sees it, whoever put it there.

Three kinds lie in the queue: what we buried (``dl-`` headers say why), what the broker itself dead-lettered
(``x-death``; its body may be a waiting message's), and what other tools have put there.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from events.decode import decode, ids_of, open_message
from events.errors import EventError, EventIds
from events.message import Message, State, wrap
from events.republish import restored
from events.snapshot import SnapshotEvent

UNKNOWN = "unknown"
"""The category of what neither we nor the broker gave one."""

_NAMESPACE = uuid.UUID("2f6e0c64-7c1b-5b0a-a3de-0d6d0f5c9b21")
_SHORT = 12
_RUNNING_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
"""The broker's marks of how often a message was looked at, no part of it."""
_DEATH = re.compile(r"x-(death$|first-death-|last-death-)")
_MAX_BYTES = 1_048_576


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter, read only as far as it is asked for: most are but counted, or passed over.

    ``delivered`` is the message as the broker handed it over. Nothing here raises, whatever is in it.
    """

    delivered: Message

    @cached_property
    def message(self) -> Message:
        """The message as it lies in the queue, but for live tokens in its body."""
        headers = self.delivered.headers
        kept = {key: value for key, value in headers.items() if key not in _RUNNING_COUNTS}
        return self.delivered.blanked()._replace(headers=kept)

    @cached_property
    def death(self) -> "Death":
        """Why it died, and when."""
        return _death(self.delivered.headers)

    @property
    def category(self) -> str:
        """One of ours, the broker's reason, or ``UNKNOWN``."""
        return self.death.category

    @property
    def code(self) -> str | None:
        """The error's code."""
        return self.death.code

    @property
    def dead_at(self) -> datetime | None:
        """The time of death."""
        return self.death.at

    @property
    def reason(self) -> str:
        """A sentence."""
        return self.death.reason

    @property
    def status(self) -> int | None:
        """The HTTP status of the refusal."""
        return _number(self.delivered.headers, "dl-status")

    @property
    def attempts(self) -> int:
        """How often it was tried."""
        return _number(self.delivered.headers, "dl-attempts") or 0

    @property
    def first_seen(self) -> datetime | None:
        """When it arrived for the first time."""
        return _time(self.delivered.headers.get("dl-first-seen"))

    @cached_property
    def _ids(self) -> EventIds:
        return _ids_of_headers(self.delivered.headers) or _ids_of_body(self.message)

    @property
    def event_id(self) -> str:
        """The event's id, or one made of its bytes."""
        return self._ids.event_id or self.message.derived_id

    @property
    def project_id(self) -> str | None:
        """Whose snapshot it is."""
        return self._ids.project_id

    @property
    def volume_id(self) -> str | None:
        """The volume of the snapshot."""
        return self._ids.volume_id

    @property
    def snapshot_id(self) -> str | None:
        """The snapshot that it is about."""
        return self._ids.snapshot_id

    @cached_property
    def replay_id(self) -> str:
        """What this death is called: without a time the bytes must do, the same message twice being one."""
        at = self.dead_at.isoformat() if self.dead_at else ""
        return str(uuid.uuid5(_NAMESPACE, f"{self.event_id}\n{at}\n{self.message.derived_id}"))

    @property
    def id(self) -> str:
        """What an operator names it by."""
        return self.replay_id.replace("-", "")[:_SHORT]

    def facts(self) -> dict[str, Any]:
        """What is known of it, as JSON; times in ISO 8601."""
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
        """The message as it once arrived, without what was added on its way here."""
        message, _state = open_message(self.message, now=0.0)
        if message is self.message:
            message = _without_death(message)
        return restored(message.blanked())

    def sent_back(self, *, now: float) -> bytes:
        """Return the body under which it goes back: the original with a fresh state.

        The replay is named after this death, so that a dead letter that is sent back twice is one cause to
        the ledger, and one that died again is another.
        """
        state = State(first_seen=now, replay=self.replay_id)
        return wrap(self.original(), state, event_id=self.event_id, subject=self.snapshot_id)


@dataclass(frozen=True, slots=True)
class Death:
    """Why a message died: category, code, a sentence, and when."""

    category: str
    code: str | None
    reason: str
    at: datetime | None


def _without_death(message: Message) -> Message:
    """Return a dead letter without the headers that say that a broker dead-lettered it."""
    headers = {key: value for key, value in message.headers.items() if not _DEATH.match(key)}
    return message._replace(headers=headers)


def _ids_of_headers(headers: Mapping[str, Any]) -> EventIds | None:
    """Return whom it is about as we said when we buried it."""
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
    """Return whom it is about as far as its body can be read."""
    original, _state = open_message(message, now=0.0)
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
        reason = f"the broker took it from {_text(death, 'queue') or 'a queue'}: {category}"
        return Death(category, None, reason, _time(death.get("time")))
    return Death(UNKNOWN, None, "put here by another program", None)


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
