"""AMQP properties of a message as a checked mapping, without content type and headers.

Names and types are those of AMQP 0-9-1, class ``basic``: texts are short strings of at most 255 bytes.
"""

from collections.abc import Mapping
from typing import Any, Final

SHORT_STRING: Final = 255
"""Bytes of UTF-8 in an AMQP short string."""

TEXTS: Final = frozenset(
    {
        "content_encoding",
        "correlation_id",
        "reply_to",
        "expiration",
        "message_id",
        "type",
        "user_id",
        "app_id",
        "cluster_id",
    }
)
NUMBERS: Final[Mapping[str, int]] = {"delivery_mode": 2, "priority": 255, "timestamp": 2**63 - 1}
"""The largest value of each property that is a number; ``timestamp`` is in seconds since the epoch."""


def short_string(value: object) -> str | None:
    """Return the value if AMQP can carry it as a short string."""
    if not isinstance(value, str):
        return None
    try:
        return value if len(value.encode()) <= SHORT_STRING else None
    except UnicodeEncodeError:
        return None


def checked_properties(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that AMQP can carry, without unknown names and invalid values."""
    return {name: value for name, value in values.items() if _is_valid(name, value)}


def _is_valid(name: str, value: object) -> bool:
    if name in TEXTS:
        return short_string(value) is not None
    return type(value) is int and 0 <= value <= NUMBERS.get(name, -1)
