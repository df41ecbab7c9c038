"""Acknowledges the messages of one channel, several with one frame wherever that is safe.

An acknowledgement with ``multiple`` takes every message of the channel up to its own, so it may name only one
that is older than the oldest message in hand. A message stays in hand until it is handed over here: while its
outcome is not confirmed, while it is possible poison that waits, or when its handling ended in a bug.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from pika.exceptions import AMQPError

from handler.broker.connection import Channel

log = logging.getLogger(__name__)


class Ack(NamedTuple):
    """A frame that acknowledges a message, and with ``multiple`` all before it."""

    tag: int
    multiple: bool = False


def acks(done: Sequence[int], oldest: int | None) -> list[Ack]:
    """Return the frames that acknowledge the tags in ``done`` and no other.

    ``oldest`` is the oldest tag in hand, None if nothing is. Each tag before it is in ``done``, or has been
    acknowledged.
    """
    if oldest is None:
        return [Ack(max(done), multiple=len(done) > 1)] if done else []
    before = [tag for tag in done if tag < oldest]
    return acks(before, None) + [Ack(tag) for tag in done if tag > oldest]


class Acknowledgements:
    """What of one channel is in hand, and what is to be acknowledged.

    If messages of the channel are delivered to another consumer too, their tags are missing here. From the
    first missing tag on, each message is acknowledged by itself.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._in_hand: OrderedDict[int, None] = OrderedDict()
        self._done: list[int] = []
        self._newest = 0
        self._all_known = True

    def delivered(self, tag: int) -> None:
        """Take a message in hand; tags of a channel count from 1."""
        self._all_known = self._all_known and tag == self._newest + 1
        self._newest = tag
        self._in_hand[tag] = None

    def add(self, tag: int) -> None:
        """Acknowledge a message together with the others of this iteration of the event loop."""
        if tag not in self._in_hand:
            return
        del self._in_hand[tag]
        if not self._done:
            asyncio.get_running_loop().call_soon(self.flush)
        self._done.append(tag)

    def flush(self) -> None:
        """Send what is to be acknowledged. On a closed channel nothing is: the broker delivers again."""
        done, self._done = self._done, []
        if not done or self._channel.closed.done():
            return
        oldest = next(iter(self._in_hand), None) if self._all_known else 0
        try:
            for tag, multiple in acks(done, oldest):
                self._channel.raw.basic_ack(tag, multiple)
        except AMQPError as error:
            log.debug(
                "not acknowledged, RabbitMQ delivers it again: %s",
                error,
                extra={"action": "message.unacknowledged"},
            )
