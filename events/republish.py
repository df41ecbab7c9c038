"""Headers and properties that RabbitMQ acts on, stored as data when a message is published again.

A dead letter must go to one queue only, stay there, and be accepted. These headers and properties prevent it:

- ``CC`` and ``BCC`` route copies to other queues (RabbitMQ's sender-selected distribution).
- ``x-delay`` delays a message (the delayed-message exchange).
- ``x-deduplication-header`` and ``x-cache-ttl`` drop a message (the message-deduplication plugin).
- ``x-received-from`` counts hops (federation).
- ``x-death``, ``x-first-death-*`` and ``x-last-death-*`` make older brokers drop a message that goes round
  twice.
- ``expiration`` deletes a message; ``priority`` moves it ahead of others.
- ``user_id`` makes the broker refuse the message unless it names our own account.
- ``reply_to`` may address the broker's direct reply queue. ``delivery_mode`` 1 loses it in a restart.

They are moved into two header tables, ``dl-original-headers`` and ``dl-original-properties``. They are moved
back when the message is shown or replayed.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from events.message import Message
from events.properties import checked_properties

ORIGINAL_HEADERS: Final = "dl-original-headers"
ORIGINAL_PROPERTIES: Final = "dl-original-properties"

_ROUTING = "CC|BCC|x-delay|x-deduplication-header|x-cache-ttl|x-received-from"
_ROUTING_HEADER = re.compile(f"({_ROUTING})", re.IGNORECASE | re.DOTALL)
_ACTING_HEADER = re.compile(f"({_ROUTING}|x-death|x-(first|last)-death-.*)", re.IGNORECASE | re.DOTALL)
_ACTING_PROPERTIES = frozenset({"expiration", "priority", "user_id", "reply_to", "delivery_mode"})


def inert(message: Message) -> Message:
    """Return the message without headers and properties that a broker acts on; ``restored`` undoes it.

    Headers that begin with ``dl-`` are left out: only we may set them.
    """
    own = {key: value for key, value in message.headers.items() if not key.startswith("dl-")}
    headers, kept_headers = _split(own, _ACTING_HEADER.fullmatch)
    properties, kept_properties = _split(message.properties, _ACTING_PROPERTIES.__contains__)
    if kept_headers:
        headers[ORIGINAL_HEADERS] = kept_headers
    if kept_properties:
        headers[ORIGINAL_PROPERTIES] = kept_properties
    return message._replace(headers=headers, properties=properties)


def put_back(message: Message) -> Message:
    """Return a dead letter as it can be published to the dead letters again; ``restored`` undoes it too.

    Why it died stays where it is: the ``dl-`` headers, and ``x-death``, since no queue dead-letters it again.
    """
    headers, kept_headers = _split(message.headers, _ROUTING_HEADER.fullmatch)
    properties, kept_properties = _split(message.properties, _ACTING_PROPERTIES.__contains__)
    for name, kept in ((ORIGINAL_HEADERS, kept_headers), (ORIGINAL_PROPERTIES, kept_properties)):
        if kept:
            headers[name] = {**_table(headers, name), **kept}
    return message._replace(headers=headers, properties=properties)


def restored(message: Message) -> Message:
    """Return a dead letter as it was before ``inert``, without the ``dl-`` headers.

    Never raises, even if another program changed the ``dl-`` headers.
    """
    headers = {key: value for key, value in message.headers.items() if not key.startswith("dl-")}
    return message._replace(
        headers=headers | _table(message.headers, ORIGINAL_HEADERS),
        properties={
            **message.properties,
            **checked_properties(_table(message.headers, ORIGINAL_PROPERTIES)),
        },
    )


def _split(values: Mapping[str, Any], acts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    kept = {key: value for key, value in values.items() if acts(key)}
    return {key: value for key, value in values.items() if key not in kept}, kept


def _table(headers: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = headers.get(name)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}
