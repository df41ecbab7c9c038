"""Converts pika's message properties to our ``Message``, and back."""

from collections.abc import Mapping
from typing import Any

import pika

from events.headers import too_deep
from events.message import Message
from events.properties import NUMBERS, SHORT_STRING, TEXTS, short_string

PERSISTENT = 2
"""The ``delivery_mode`` of a message that survives a restart of the broker."""

_NAMES = (*TEXTS, *NUMBERS)
_DELIVERY_COUNT = "x-delivery-count"


def received(properties: pika.BasicProperties, body: bytes, *, redelivered: bool) -> Message:
    """Convert a delivery to a message.

    Headers that cannot be read, or are nested too deeply, are left out and named. ``x-delivery-count`` is
    kept on a redelivery only: on a first delivery it comes from the producer, not from the broker.
    """
    headers: dict[str, Any] = {}
    bad = [name[:64] for name in getattr(properties, "bad_headers", ())]
    for key, value in (properties.headers or {}).items():
        name = _text(key)
        if too_deep(value):
            bad.append(name[:64])
        elif redelivered or name != _DELIVERY_COUNT:
            headers[name] = value
    return Message(body, _text(properties.content_type), headers, _others(properties), tuple(bad))


def _others(properties: pika.BasicProperties) -> dict[str, Any]:
    found = {}
    for name in _NAMES:
        value = getattr(properties, name)
        if value is not None and (name, value) != ("delivery_mode", PERSISTENT):
            found[name] = _text(value)
    return found


def to_publish(message: Message, headers: Mapping[str, Any]) -> pika.BasicProperties:
    """Return the properties to publish a message again with: persistent, with these headers."""
    return pika.BasicProperties(
        **{**message.properties, "delivery_mode": PERSISTENT},
        content_type=short_string(message.content_type),
        headers=dict(headers),
    )


def _text(value: Any) -> Any:
    """Convert a short string that is not UTF-8, which pika returns as bytes. Replacements take more bytes."""
    if not isinstance(value, bytes):
        return value
    return value.decode(errors="replace").encode()[:SHORT_STRING].decode(errors="ignore")
