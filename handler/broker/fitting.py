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

_FRAME_ROOM = 131_072 - 4_096
"""All headers share one frame of 128 KiB; 4 KiB of it are kept for the other properties."""
_UNENCODABLE = (AMQPError, ArithmeticError, TypeError, ValueError, struct.error)
_SHORT_TEXT = 64
_NAMES_LIMIT = 1024


def fitting(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers that fit into one frame. Never raises.

    Where they do not fit, ``dl-message`` is truncated first; then the largest headers of the original are
    left out, and named in ``dl-dropped-headers``.
    """
    encoded = {str(key): _encodable(value) for key, value in headers.items() if not too_deep(value)}
    sizes = {key: _size(key, value) for key, value in encoded.items()}
    dropped = [str(key) for key in headers if not sizes.get(str(key))]
    message = encoded.get("dl-message")
    if sum(sizes.values()) > _FRAME_ROOM and isinstance(message, str) and len(message) > _SHORT_TEXT:
        encoded["dl-message"] = message[: _SHORT_TEXT - 1] + "…"
        sizes["dl-message"] = _size("dl-message", encoded["dl-message"])
    largest_first = sorted(sizes, key=lambda key: (_is_reason(key), -sizes[key]))
    while sum(sizes.values()) > _FRAME_ROOM:
        largest = largest_first.pop(0)
        dropped.append(largest)
        del sizes[largest]
    kept = {key: encoded[key] for key in encoded if sizes.get(key)}
    if dropped:
        names = [str(kept.get(DROPPED, "")), *(name[:_SHORT_TEXT] for name in dropped)]
        kept[DROPPED] = ", ".join(filter(None, names))[:_NAMES_LIMIT]
    return kept


def _is_reason(key: str) -> bool:
    """Return whether a header is one of our ``dl-`` headers, which are short and stay."""
    return key.startswith("dl-") and not key.startswith("dl-original-")


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
