"""A message as it is on the bus, and the one that waits with its state inside.

A message that waits carries its state in its body, as CloudEvents extension attributes, since a FunctionGraph
trigger hands over bodies only; and it carries the original message, so that a dead letter is the original
however often it waited.
"""

import base64
import math
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

WAITING: Final = "snapshot-backup.waiting"
"""The CloudEvents type of a message that waits."""

WaitReason = Literal["retry", "look", "watch", "tell", "check", "pause"]
"""Why a message waits: another try, a look for a call in doubt, the backup's end, an outcome that could not
be told, a snapshot that is not complete yet, or everybody's trouble."""

_NAMESPACE = uuid.UUID("c9f6a3b2-52a1-5d0e-8a3f-1d8e0f7b6a55")
_CYCLE_HEADERS = re.compile(r"^x-(death|first-death-|last-death-|delivery-count|acquired-count)")
_DECIMAL = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:E[+-]?\d{1,9})?")
# Old Cinder releases put the user's live token into their notifications. The quotes may be escaped, since
# the inner message is JSON text inside JSON. Bounded, so that no body can make it slow.
_TOKEN = re.compile(rb'(\\{0,7})"(_context_\w{0,40}token\w{0,40})\1"(\s{0,8}:\s{0,8})\1"[^"\\]{1,65536}\1"')


def _without_tokens(body: bytes) -> bytes:
    return _TOKEN.sub(rb'\1"\2\1"\3\1"\1"', body) if b"_context_" in body else body


class Message(NamedTuple):
    """A message as it arrived: body, AMQP ``content_type`` and ``headers``."""

    body: bytes
    content_type: str | None = None
    headers: Mapping[str, Any] = MappingProxyType({})

    @property
    def derived_id(self) -> str:
        """An event id for what carries none: the same bytes have the same id, with or without live tokens."""
        return str(uuid.uuid5(_NAMESPACE, sha256(_without_tokens(self.body)).hexdigest()))

    @property
    def delivery_count(self) -> int:
        """How often a quorum queue has handed this message to a consumer that then vanished."""
        count = self.headers.get("x-delivery-count", 0)
        return count if isinstance(count, int) else 0

    def blanked(self) -> "Message":
        """The same message without live tokens, and without the broker's own marks.

        With ``x-death`` and its kin left in, older brokers silently drop what goes round twice.
        """
        headers = {key: value for key, value in self.headers.items() if not _CYCLE_HEADERS.match(key)}
        return Message(_without_tokens(self.body), self.content_type, headers)


class State(NamedTuple):
    """What is known of a message beyond its bytes.

    ``first_seen`` and ``accepted_at`` are seconds since the epoch. ``attempts`` counts tries that were this
    message's own trouble; ``waits`` every wait; ``crashes`` the processes that ended with it in hand.
    ``replay`` names the replay that sent it back from the dead letters. ``doubt_since`` and ``looks`` tell of
    a call in doubt, for a ledger that forgets. ``traceparent`` is the W3C trace context of whoever handled it
    last.
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
    looks: int = 0
    traceparent: str | None = None


class _Original(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")

    body: bytes
    content_type: str | None = None
    headers: dict[str, Any] = Field(default_factory=dict)


class _Envelope(BaseModel):
    """A waiting message's own CloudEvent; the state in attributes of lower-case letters, as they must be."""

    model_config = ConfigDict(frozen=True)

    specversion: Literal["1.0"] = "1.0"
    type: Literal["snapshot-backup.waiting"] = WAITING
    source: Literal["snapshot-backup"] = "snapshot-backup"
    id: str
    subject: str | None = None
    firstseen: float = Field(gt=0, allow_inf_nan=False)
    waitreason: WaitReason
    attempts: int = Field(ge=0, le=1_000_000)
    waits: int = Field(ge=0, le=1_000_000_000)
    crashes: int = Field(ge=0, le=1_000_000)
    backupid: str | None = None
    acceptedat: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    replayid: str | None = None
    doubtsince: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    looks: int = Field(default=0, ge=0, le=1_000_000)
    traceparent: str | None = Field(default=None, max_length=55)
    data: _Original


_ENVELOPE = TypeAdapter(_Envelope)


def wrap(original: Message, state: State, *, event_id: str, subject: str | None = None) -> bytes:
    """Return the body under which ``original`` waits."""
    kept = original.blanked()
    envelope = _Envelope(
        id=event_id,
        subject=subject,
        firstseen=state.first_seen,
        waitreason=state.reason,
        attempts=state.attempts,
        waits=state.waits,
        crashes=state.crashes,
        backupid=state.backup_id,
        acceptedat=state.accepted_at,
        replayid=state.replay,
        doubtsince=state.doubt_since,
        looks=state.looks,
        traceparent=state.traceparent,
        data=_Original(body=kept.body, content_type=kept.content_type, headers=headers_to_json(kept.headers)),
    )
    return envelope.model_dump_json(exclude_none=True).encode()


def unwrap(value: Mapping[str, Any]) -> tuple[Message, State]:
    """Return the original and its state from a waiting message's parsed body.

    Raises:
        ValueError: it is no such message.

    """
    envelope = _ENVELOPE.validate_python(_with_bytes(value))
    original = Message(
        envelope.data.body, envelope.data.content_type, headers_from_json(envelope.data.headers)
    )
    state = State(
        first_seen=envelope.firstseen,
        reason=envelope.waitreason,
        attempts=envelope.attempts,
        waits=envelope.waits,
        crashes=envelope.crashes,
        backup_id=envelope.backupid,
        accepted_at=envelope.acceptedat,
        replay=envelope.replayid,
        doubt_since=envelope.doubtsince,
        looks=envelope.looks,
        traceparent=envelope.traceparent,
    )
    return original, state


def _with_bytes(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Decode the one base64 field of a parsed body; what is odd is left for validation to refuse."""
    data = value.get("data")
    if not isinstance(data, dict) or not isinstance(body := data.get("body"), str):
        return value
    try:
        return {**value, "data": {**data, "body": base64.b64decode(body, b"-_", validate=True)}}
    except ValueError:
        return {**value, "data": None}


def headers_to_json(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return an AMQP table as JSON; ``headers_from_json`` makes the same table of it again."""
    return {str(key): _to_json(item) for key, item in headers.items()}


def _to_json(value: Any) -> Any:
    """AMQP table values as JSON; what JSON has no word for becomes a table with one key, a tag."""
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            return {"$time": value.replace(tzinfo=value.tzinfo or UTC).isoformat()}
        case Decimal():
            return {"$decimal": str(value)}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case dict():
            table = {str(key): _to_json(item) for key, item in value.items()}
            return {"$table": table} if _is_tag(table) else table
        case list() | tuple():
            return [_to_json(item) for item in value]
        case str() | int() | float() | None:
            return value
        case _:
            return {"$text": str(value)}


def headers_from_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Undo ``headers_to_json``. Raises ``ValueError``."""
    return {key: _from_json(item) for key, item in value.items()}


def _from_json(value: Any) -> Any:
    """Undo ``_to_json``. Raises ``ValueError``."""
    match value:
        case dict() if _is_tag(value):
            [(tag, content)] = value.items()
            return _untag(tag, content)
        case dict():
            return {key: _from_json(item) for key, item in value.items()}
        case list():
            return [_from_json(item) for item in value]
        case _:
            return value


def _is_tag(table: Mapping[str, Any]) -> bool:
    return len(table) == 1 and next(iter(table)).startswith("$")


def _untag(tag: str, content: Any) -> Any:
    match tag, content:
        case "$bytes", str():
            return base64.b64decode(content, validate=True)
        case "$time", str():
            return datetime.fromisoformat(content)
        case "$decimal", str() if _DECIMAL.fullmatch(content):
            return Decimal(content)
        case "$float", "nan" | "inf" | "-inf":
            return float(content)
        case "$text", str():
            return content
        case "$table", dict():
            return {key: _from_json(item) for key, item in content.items()}
        case _:
            raise ValueError("an unknown tag in the original's headers")
