"""Makes the headers of a dead letter fit: what pika can encode, and what one frame can hold.

Every message must be publishable as a dead letter. Headers that do not fit are left out, and named.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import pika
from pika.exceptions import AMQPError

from events.headers import too_deep
from events.properties import short_string

DROPPED: Final = "dl-dropped-headers"
"""The header that names the headers that were left out."""

_REASONS: Final = (
    "dl-category", "dl-event-id", "dl-code", "dl-dead-at", "dl-source-queue", "dl-body", "dl-body-bytes",
)  # fmt: skip
"""Our headers that stay longest."""
_FRAME: Final = 8 + 12 + 4
"""Bytes around a content header, before its properties, and in front of its table of headers."""
_UNENCODABLE = (AMQPError, ArithmeticError, TypeError, ValueError, struct.error)
_SHORT_TEXT = 64
_NAMES_LIMIT = 1024


def header_room(frame_max: int, properties: pika.BasicProperties) -> int:
    """Return how many bytes of headers fit into one frame beside these properties, which have none yet.

    A content header cannot be split. A broker ends the connection on one that is longer than what was agreed
    with it.
    """
    return frame_max - _FRAME - sum(map(len, properties.encode()))


def fitting(headers: Mapping[str, Any], room: int) -> dict[str, Any]:
    """Return the headers that fit into ``room`` bytes. Never raises.

    Where they do not fit, ``dl-message`` is truncated first; then the largest headers of the original are
    left out, and named in ``dl-dropped-headers``; then the largest of ours.
    """
    encoded = {str(key): _encodable(value) for key, value in headers.items() if not too_deep(value)}
    names = [str(encoded.pop(DROPPED, ""))]
    sizes = {key: _size(key, value) for key, value in encoded.items()}
    names += [str(key)[:_SHORT_TEXT] for key in headers if key != DROPPED and not sizes.get(str(key))]
    message = encoded.get("dl-message")
    if _total(sizes, names, room) > room and isinstance(message, str) and len(message) > _SHORT_TEXT:
        encoded["dl-message"] = message[: _SHORT_TEXT - 1] + "…"
        sizes["dl-message"] = _size("dl-message", encoded["dl-message"])
    for key in sorted(sizes, key=lambda key: (_rank(key), -sizes[key])):
        if _total(sizes, names, room) <= room:
            break
        names.append(key[:_SHORT_TEXT])
        del sizes[key]
    kept = {key: encoded[key] for key in encoded if sizes.get(key)}
    return kept | ({DROPPED: text} if (text := _listed(names, room)) else {})


def _total(sizes: Mapping[str, int], names: list[str], room: int) -> int:
    """Return the bytes of all headers, with the one that names those that were left out."""
    text = _listed(names, room)
    return sum(sizes.values()) + (_size(DROPPED, text) if text else 0)


def _listed(names: list[str], room: int) -> str:
    limit = min(_NAMES_LIMIT, room // 4)
    return ", ".join(filter(None, names)).encode(errors="replace")[:limit].decode(errors="ignore")


def _rank(key: str) -> int:
    """Return how long a header stays: the original's go first, then our other ones."""
    if not key.startswith("dl-") or key.startswith("dl-original-"):
        return 0
    return 2 if key in _REASONS else 1


def _encodable(value: Any) -> Any:
    """Return the value as pika can send it. What pika can only receive, such as a double, becomes text."""
    match value:
        case dict():
            return {key: _encodable(item) for key, item in value.items() if _is_key(key)}
        case list() | tuple():
            return [_encodable(item) for item in value]
    try:
        pika.data.encode_value([], value)
    except _UNENCODABLE:
        return str(value)
    return value


def _is_key(key: object) -> bool:
    """Return whether AMQP can carry a table's key. Pika returns a key that is no UTF-8 as bytes."""
    return short_string(key.decode("latin-1") if isinstance(key, bytes) else key) is not None


def _size(key: str, value: Any) -> int:
    """Return how many bytes a header takes; 0 where it cannot be encoded."""
    try:
        return int(pika.data.encode_table([], {key: value})) - 4
    except _UNENCODABLE:
        return 0
