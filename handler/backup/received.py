"""A message as it was received: the original, its state, and how often it was delivered before.

It is made once, where the message comes in. A worker receives deliveries, a function the bodies of a call.
"""

from typing import NamedTuple

from events.decode import open_message
from events.message import Message, State, WaitReason, wrap


class Received(NamedTuple):
    """A received message. ``deliveries`` counts earlier ones, to consumers that vanished."""

    original: Message
    state: State
    deliveries: int = 0

    @property
    def crashes(self) -> int:
        """How many processes or connections ended with this message in hand, in all its waits."""
        return self.state.crashes + self.deliveries

    def parked(self, reason: WaitReason = "pause") -> bytes:
        """Return the body under which the message is delayed unhandled, for another message's sake.

        The crash count stays; a message that tracks a backup goes on tracking it.
        """
        kept = "track" if self.state.reason == "track" else reason
        state = self.state._replace(reason=kept, crashes=self.crashes, waits=self.state.waits + 1)
        return wrap(self.original, state, event_id=self.original.derived_id)

    def in_doubt(self, now: float) -> "Received":
        """The message after its handling was cut off: a request may have left, so a lookup comes first."""
        return self._replace(state=self.state._replace(doubt_since=now, lookups=0))


def receive(message: Message, *, now: float) -> Received:
    """Parse what came in; ``now`` is in seconds since the epoch. Never raises."""
    original, state = open_message(message, now=now)
    return Received(original, state, message.delivery_count)
