"""A dead letter as an operator sees it, whoever put it there.

Three kinds lie in the queue: what we buried (``dl-`` headers say why), what the broker itself dead-lettered
(``x-death``; its body may be a waiting message's), and what other tools have put there.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from events.decode import decode, open_message
from events.errors import EventError, EventIds
from events.message import Message, State, wrap
from events.snapshot import SnapshotEvent

UNKNOWN = "unknown"
"""The category of what neither we nor the broker gave one."""

_NAMESPACE = uuid.UUID("2f6e0c64-7c1b-5b0a-a3de-0d6d0f5c9b21")
_SHORT = 12
_RUNNING_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
"""The broker's marks of how often a message was looked at, no part of it."""
_MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. ``message`` is as it lies in the queue, but for live tokens in its body."""

    message: Message
    category: str
    code: str | None
    status: int | None
    reason: str
    attempts: int
    event_id: str
    project_id: str | None
    volume_id: str | None
    snapshot_id: str | None
    first_seen: datetime | None
    dead_at: datetime | None
    replay_id: str

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
        headers = {key: value for key, value in message.headers.items() if not key.startswith("dl-")}
        return Message(message.body, message.content_type, headers).blanked()

    def sent_back(self, *, now: float) -> bytes:
        """Return the body under which it goes back: the original with a fresh state.

        The replay is named after this death, so that a dead letter that is sent back twice is one cause to
        the ledger, and one that died again is another.
        """
        state = State(first_seen=now, replay=self.replay_id)
        return wrap(self.original(), state, event_id=self.event_id, subject=self.snapshot_id)


def read_letter(message: Message) -> Letter:
    """Read what is known of a message in the dead-letter queue. Never raises."""
    headers = {key: value for key, value in message.headers.items() if key not in _RUNNING_COUNTS}
    kept = Message(message.blanked().body, message.content_type, headers)
    category, code, reason, dead_at = _why(headers)
    ids = _ids(kept)
    event_id = ids.event_id or kept.derived_id
    # Without a time of death the bytes must do: the same message twice is then one cause.
    death = f"{event_id}\n{dead_at.isoformat() if dead_at else ''}\n{kept.derived_id}"
    return Letter(
        message=kept,
        category=category,
        code=code,
        status=_number(headers, "dl-status"),
        reason=reason,
        attempts=_number(headers, "dl-attempts") or 0,
        event_id=event_id,
        project_id=ids.project_id,
        volume_id=ids.volume_id,
        snapshot_id=ids.snapshot_id,
        first_seen=_time(headers.get("dl-first-seen")),
        dead_at=dead_at,
        replay_id=str(uuid.uuid5(_NAMESPACE, death)),
    )


def _ids(message: Message) -> EventIds:
    """Return whom it is about: as our headers say, else as the body does."""
    headers = message.headers
    if event_id := _text(headers, "dl-event-id"):
        return EventIds(
            event_id=event_id,
            project_id=_text(headers, "dl-project-id"),
            volume_id=_text(headers, "dl-volume-id"),
            snapshot_id=_text(headers, "dl-snapshot-id"),
        )
    original, _state = open_message(message, now=0.0)
    try:
        event = decode(original, max_bytes=_MAX_BYTES)
    except EventError as error:
        return error.ids
    if not isinstance(event, SnapshotEvent):
        return EventIds()
    snapshot = event.snapshot
    return EventIds(
        event.id, event.source, event.type, snapshot.project_id, snapshot.volume_id, snapshot.snapshot_id
    )


def _why(headers: Mapping[str, Any]) -> tuple[str, str | None, str, datetime | None]:
    """Return category, code, a sentence, and the time of death."""
    if category := _text(headers, "dl-category"):
        reason = _text(headers, "dl-message") or ""
        return category, _text(headers, "dl-code"), reason, _time(headers.get("dl-dead-at"))
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(death := deaths[0], dict):
        category = _text(death, "reason") or UNKNOWN
        reason = f"the broker took it from {_text(death, 'queue') or 'a queue'}: {category}"
        return category, None, reason, _time(death.get("time"))
    return UNKNOWN, None, "put here by another program", None


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
