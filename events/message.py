"""An AMQP message, and the waiting message that contains it together with its state.

The body of a waiting message contains the state, as CloudEvents extension attributes, because a FunctionGraph
trigger passes only bodies. It also contains the original message, so that a dead letter is the original
however often it waited.
"""

import base64
import uuid
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from events.encoding import Labels, labels_of
from events.headers import headers_from_json, headers_to_json
from events.properties import checked_properties, short_string
from events.state_keys import StateKeys
from events.tokens import canonical, without_tokens

WAITING: Final = "snapshot-backup.waiting"
"""The CloudEvents type of a message that waits."""

WaitReason = Literal["retry", "lookup", "track", "publish", "check", "pause", "room", "paused"]
"""Why a message is delayed.

``retry``: the call is repeated. ``lookup``: the call is in doubt. ``track``: the backup is not finished.
``publish``: the outcome could not be published. ``check``: the snapshot is not complete. ``pause``: the
circuit breaker is open, or the message is parked. ``room``: as many backups are in progress as may be.
``paused``: an operator has paused the queue, or the message's project.
"""

_NAMESPACE = uuid.UUID("c9f6a3b2-52a1-5d0e-8a3f-1d8e0f7b6a55")
_RUNNING_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
"""Headers in which the broker counts deliveries; they are not part of the original message."""


class Message(NamedTuple):
    """A message as it arrived: body, AMQP ``content_type``, ``headers`` and its other ``properties``.

    ``bad_headers`` names the headers that were removed because they cannot be read, or are
    nested too deeply.
    """

    body: bytes
    content_type: str | None = None
    headers: Mapping[str, Any] = MappingProxyType({})
    properties: Mapping[str, Any] = MappingProxyType({})
    bad_headers: tuple[str, ...] = ()

    @property
    def labels(self) -> Labels:
        """What the message says of its body's encoding."""
        return labels_of(self.content_type, self.headers, self.properties)

    @property
    def derived_id(self) -> str:
        """An event id for a message without one: the same text has the same id, with or without tokens."""
        return str(uuid.uuid5(_NAMESPACE, sha256(canonical(self.body, self.labels)).hexdigest()))

    @property
    def delivery_count(self) -> int:
        """How often a quorum queue has delivered this message to a consumer that then disappeared."""
        count = self.headers.get("x-delivery-count", 0)
        return min(max(count, 0), _MOST) if isinstance(count, int) else 0

    def blanked(self) -> "Message":
        """The same message without live tokens and without the broker's delivery counts."""
        headers = {key: value for key, value in self.headers.items() if key not in _RUNNING_COUNTS}
        return self._replace(body=without_tokens(self.body, self.labels), headers=headers)


class State(NamedTuple):
    """What we know about a message besides its bytes; a waiting message contains it.

    ``first_seen`` and ``accepted_at`` are seconds since the epoch. ``attempts`` counts tries that failed
    because of this message; ``waits`` counts delays of any kind. ``crashes`` counts the processes that ended
    while they handled it. ``replay`` is the id of the replay that sent it back from the dead letters.
    ``doubt_since`` and ``lookups`` describe a call in doubt, for use without a persistent ledger.
    ``absent_since`` and ``absences`` describe successive lookups that did not find what must exist: a backup
    that the API made, or a snapshot. ``traceparent`` is the W3C trace context of the last handling.
    ``room_since`` is when the message began to wait for room among the backups in progress, or for the end of
    an operator's pause, ``room_seconds`` how long it has waited for that before.
    """

    first_seen: float
    reason: WaitReason = "retry"
    attempts: int = 0
    waits: int = 0
    crashes: int = 0
    backup_id: str | None = None
    accepted_at: float | None = None
    replay: str | None = None
    doubt_since: float | None = None
    lookups: int = 0
    absent_since: float | None = None
    absences: int = 0
    traceparent: str | None = None
    room_since: float | None = None
    room_seconds: float = 0.0

    def age(self, now: float) -> float:
        """The seconds that count towards ``MAX_AGE``: not those of waiting for room or of a pause."""
        waiting = 0.0 if self.room_since is None else max(0.0, now - self.room_since)
        return now - self.first_seen - self.room_seconds - waiting

    def without_room(self, now: float) -> "State":
        """The same state where the message has to wait for room: it goes on waiting, or begins to."""
        return self if self.room_since is not None else self._replace(room_since=now)

    def with_room(self, now: float) -> "State":
        """The same state once the message need not wait for room any more."""
        if self.room_since is None:
            return self
        seconds = self.room_seconds + max(0.0, now - self.room_since)
        return self._replace(room_since=None, room_seconds=seconds)

    def missed(self, now: float) -> "State":
        """The same state after one more lookup that found nothing."""
        since = now if self.absent_since is None else self.absent_since
        return self._replace(absent_since=since, absences=self.absences + 1)

    def seen(self) -> "State":
        """The same state after a lookup that found it."""
        return self._replace(absent_since=None, absences=0)

    def until(self, now: float) -> "State":
        """The same state with no time after ``now``: clocks differ, and a state may be forged."""
        return self._replace(
            first_seen=min(self.first_seen, now),
            accepted_at=None if self.accepted_at is None else min(self.accepted_at, now),
            doubt_since=None if self.doubt_since is None else min(self.doubt_since, now),
            absent_since=None if self.absent_since is None else min(self.absent_since, now),
            room_since=None if self.room_since is None else min(self.room_since, now),
        )

    def unauthenticated(self) -> "State":
        """The same state as far as a producer may have written it: no poison by what it says alone.

        One crash has the message handled isolated. The others are counted by the broker, at its redeliveries.
        """
        return self._replace(crashes=min(self.crashes, 1))


_MOST = 1_000_000
Count = Annotated[int, Field(ge=0, le=_MOST)]
"""Far more than any message reaches: with 5 s between two waits it takes two months."""


def _count(value: int) -> int:
    return min(value, _MOST)


Time = Annotated[float, Field(gt=0, lt=253_402_300_800, allow_inf_nan=False)]
"""Seconds since the epoch, before the year 10000, which is as far as ``datetime`` goes."""


BackupId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")]
"""A backup's id, which becomes part of a URL's path."""

_FORMER_REASONS = {"look": "lookup", "watch": "track", "tell": "publish"}


def _reason(value: object) -> object:
    """Translate the former reasons, which messages may contain that were delayed by earlier code."""
    return _FORMER_REASONS.get(value, value) if isinstance(value, str) else value


class _Original(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    body: bytes
    content_type: str | None = None
    headers: dict[str, Any] = Field(default_factory=dict)
    properties: dict[str, Any] = Field(default_factory=dict)
    bad_headers: tuple[str, ...] = ()

    def message(self) -> Message:
        """Return the message. Raises ``ValueError``."""
        return Message(
            self.body,
            short_string(self.content_type),
            headers_from_json(self.headers),
            checked_properties(self.properties),
            self.bad_headers,
        )


class _Attributes(BaseModel):
    """The CloudEvent of a waiting message; CloudEvents requires attribute names of lower-case letters."""

    model_config = ConfigDict(frozen=True)

    specversion: Literal["1.0"] = "1.0"
    type: Literal["snapshot-backup.waiting"] = WAITING
    source: Literal["snapshot-backup"] = "snapshot-backup"
    id: str
    subject: str | None = None
    firstseen: Time
    waitreason: Annotated[WaitReason, BeforeValidator(_reason)]
    attempts: Count
    waits: Count
    crashes: Count
    backupid: BackupId | None = None
    acceptedat: Time | None = None
    replayid: str | None = None
    doubtsince: Time | None = None
    lookups: Count = Field(default=0, validation_alias=AliasChoices("lookups", "looks"))
    absentsince: Time | None = None
    absences: Count = 0
    traceparent: str | None = Field(default=None, max_length=55)
    roomsince: Time | None = None
    roomseconds: Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)] | None = None


class _Envelope(_Attributes):
    data: _Original


_ATTRIBUTES = TypeAdapter(_Attributes)
_ORIGINAL = TypeAdapter(_Original)


def wrap(
    original: Message,
    state: State,
    *,
    event_id: str,
    subject: str | None = None,
    keys: StateKeys | None = None,
) -> bytes:
    """Return the body of the waiting message that contains ``original`` and its state.

    ``keys`` sign it; without them it is not authenticated.
    """
    kept = original.blanked()
    envelope = _Envelope(
        id=event_id,
        subject=subject,
        firstseen=state.first_seen,
        waitreason=state.reason,
        attempts=_count(state.attempts),
        waits=_count(state.waits),
        crashes=_count(state.crashes),
        backupid=state.backup_id,
        acceptedat=state.accepted_at,
        replayid=state.replay,
        doubtsince=state.doubt_since,
        lookups=_count(state.lookups),
        absentsince=state.absent_since,
        absences=_count(state.absences),
        traceparent=state.traceparent,
        roomsince=state.room_since,
        roomseconds=state.room_seconds or None,
        data=_Original(
            body=kept.body,
            content_type=kept.content_type,
            headers=headers_to_json(kept.headers),
            properties=dict(kept.properties),
            bad_headers=kept.bad_headers,
        ),
    )
    body = envelope.model_dump_json(exclude_none=True).encode()
    return body if keys is None else keys.sign(body)


def unwrap_original(value: Mapping[str, Any]) -> Message:
    """Return the original from a waiting message's parsed body. Raises ``ValueError``."""
    return _ORIGINAL.validate_python(_with_bytes(value.get("data"))).message()


def unwrap_state(value: Mapping[str, Any]) -> State:
    """Return the state from a waiting message's parsed body. Raises ``ValueError``."""
    envelope = _ATTRIBUTES.validate_python(value)
    return State(
        first_seen=envelope.firstseen,
        reason=envelope.waitreason,
        attempts=envelope.attempts,
        waits=envelope.waits,
        crashes=envelope.crashes,
        backup_id=envelope.backupid,
        accepted_at=envelope.acceptedat,
        replay=envelope.replayid,
        doubt_since=envelope.doubtsince,
        lookups=envelope.lookups,
        absent_since=envelope.absentsince,
        absences=envelope.absences,
        traceparent=envelope.traceparent,
        room_since=envelope.roomsince,
        room_seconds=envelope.roomseconds or 0.0,
    )


def _with_bytes(data: object) -> object:
    """Decode the one base64 field of a parsed original; validation refuses invalid values later."""
    if not isinstance(data, dict) or not isinstance(body := data.get("body"), str):
        return data
    try:
        return {**data, "body": base64.b64decode(body, b"-_", validate=True)}
    except ValueError:
        return None
