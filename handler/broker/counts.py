"""Counts of a queue: its ready messages and its consumers, by a passive declaration."""

import time
from typing import NamedTuple

from handler.broker.connection import Channel

LEADER_SECONDS = 0.25
"""For so long RabbitMQ waits for the leader of a quorum queue that is asked for its counts. Then it answers
zeros, as for a queue without messages and consumers (tried on 3.10.8)."""

_MOST_QUESTIONS = 8


class Counts(NamedTuple):
    """The counts of a queue. ``known`` is false for zeros that may only say that the leader is busy."""

    messages: int
    consumers: int
    known: bool


async def count(channel: Channel, queue: str) -> Counts:
    """Ask for the counts of a queue. Raises ``ChannelClosed``."""
    asked = time.monotonic()
    frame = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    messages, consumers = int(frame.method.message_count), int(frame.method.consumer_count)
    return Counts(
        messages, consumers, bool(messages or consumers) or time.monotonic() - asked < LEADER_SECONDS
    )


async def count_messages(channel: Channel, queue: str) -> int:
    """Return how many messages are ready; ask again while that is not known. Raises ``ChannelClosed``."""
    for _ in range(_MOST_QUESTIONS):
        counts = await count(channel, queue)
        if counts.known:
            break
    return counts.messages
