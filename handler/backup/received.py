"""A message as it was received: the original, its state, and how often it was delivered before.

It is made once, where the message comes in. A worker receives deliveries, a function the bodies of a call.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from events.decode import parse_message
from events.message import Message, State, WaitReason
from events.state_keys import StateKeys
from handler.backup.policy import LOOKUPS_UNTIL_CERTAIN

log = logging.getLogger(__name__)

_LONG_AGO = 1.0
WARNING_SECONDS = 60.0
"""The least time between two warnings of waiting messages that are not believed."""


class Received(NamedTuple):
    """A received message. ``deliveries`` counts earlier ones, to consumers that vanished."""

    original: Message
    state: State
    deliveries: int = 0

    @property
    def crashes(self) -> int:
        """How many processes or connections ended with this message in hand, in all its waits."""
        return self.state.crashes + self.deliveries

    def parked(self, reason: WaitReason = "pause") -> State:
        """Return the state with which the message is delayed unhandled, for another message's sake.

        The crash count stays; a message that tracks a backup goes on tracking it.
        """
        kept = "track" if self.state.reason == "track" else reason
        return self.state._replace(reason=kept, crashes=self.crashes, waits=self.state.waits + 1)

    def in_doubt(self, now: float) -> "Received":
        """The message after its handling was cut off: a request may have left, so a lookup comes first."""
        return self._replace(state=self.state._replace(doubt_since=now, lookups=0))


class Receiver:
    """Parses what comes in. Waiting messages that ``keys`` do not verify lose their state.

    Such a message may have waited across an upgrade, after a request for its backup. So one lookup comes
    before a request, even where the ledger knows nothing of it. ``clock`` gives seconds since the epoch.
    """

    def __init__(self, keys: StateKeys | None, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._clock = clock
        self._dropped = 0
        self._warned_at = float("-inf")

    def receive(self, message: Message) -> Received:
        """Parse a message. Never raises."""
        now = self._clock()
        original, state, believed = parse_message(message, now=now, keys=self._keys)
        if not believed:
            self._count(now)
            state = state._replace(doubt_since=_LONG_AGO, lookups=LOOKUPS_UNTIL_CERTAIN - 1)
        return Received(original, state, message.delivery_count)

    def _count(self, now: float) -> None:
        self._dropped += 1
        if 0 <= now - self._warned_at < WARNING_SECONDS:
            return
        log.warning(
            "dropped the state of %d waiting messages, which no key of ours has signed; their originals are "
            "handled as new events. Expected after an upgrade or a new key; else they are forged",
            self._dropped,
            extra={"action": "state.dropped", "messages": self._dropped},
        )
        self._dropped, self._warned_at = 0, now
