"""``MemoryBroker``: queue, wait queues, dead letters and outcomes in memory, by a clock that tests move.

It is the ``Outbox`` of a ``Process`` and the queue before it. Like a quorum queue it counts how often a
message came back from a consumer that vanished, and buries it without a word when that was too often.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.message import Message
from events.outcome import CONTENT_TYPE, Outcome
from handler.broker.topology import DELIVERY_LIMIT
from handler.errors import ConnectionLost, Unroutable
from tests.twins.steps import Steps


@dataclass(frozen=True)
class DeadLetter:
    """A buried message with its ``dl-`` headers, or with none, where the broker itself has buried it."""

    message: Message
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class Waiting:
    """A message in a wait queue until ``due`` (clock)."""

    due: float
    seconds: int
    body: bytes


@dataclass
class MemoryBroker:
    """Messages are in ``ready``, in hand, in ``waiting`` or in ``dead``; told outcomes are in ``outcomes``.

    ``bound`` False returns outcomes as unroutable; ``lost`` True refuses every publish, as a connection that
    is gone does.
    """

    clock: Callable[[], float]
    delays: Sequence[int]
    steps: Steps = field(default_factory=Steps)
    ready: deque[Message] = field(default_factory=deque)
    in_hand: list[Message] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    bound: bool = True
    lost: bool = False

    def publish(self, message: Message) -> None:
        """Put a message into the queue."""
        self.ready.append(message)

    def take(self, count: int) -> Sequence[Message]:
        """Deliver up to ``count`` messages."""
        taken = [self.ready.popleft() for _ in range(min(count, len(self.ready)))]
        self.in_hand += taken
        return taken

    def ack(self, message: Message) -> None:
        """Forget a message in hand."""
        self.steps("before ack")
        self.in_hand = [each for each in self.in_hand if each is not message]
        self.steps("after ack")

    def consumer_lost(self) -> None:
        """Put what is in hand back to the front, counted, as it is when a consumer vanishes."""
        counted = [_came_back(message) for message in self.in_hand]
        self.in_hand.clear()
        self.dead += [DeadLetter(each, {}) for each in counted if each.delivery_count > DELIVERY_LIMIT]
        self.ready.extendleft(reversed([each for each in counted if each.delivery_count <= DELIVERY_LIMIT]))

    def expire(self) -> None:
        """Move what has waited long enough back into the queue, the earliest first."""
        now = self.clock()
        due = sorted((each for each in self.waiting if each.due <= now), key=lambda each: each.due)
        self.waiting = [each for each in self.waiting if each.due > now]
        self.ready.extend(Message(each.body, CONTENT_TYPE) for each in due)

    def next_due(self) -> float | None:
        """When the next waiting message comes back."""
        return min((each.due for each in self.waiting), default=None)

    async def publish_outcome(self, outcome: Outcome) -> None:
        """See ``handler.backup.ports.Outbox``."""
        with self._confirmed("publish_outcome"):
            if not self.bound:
                raise Unroutable("no queue is bound")
            self.outcomes.append(outcome)

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """See ``handler.backup.ports.Outbox``."""
        with self._confirmed("delay"):
            delay = next((delay for delay in self.delays if delay >= seconds), self.delays[-1])
            self.waiting.append(Waiting(self.clock() + delay, delay, body))

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """See ``handler.backup.ports.Outbox``."""
        with self._confirmed("dead_letter"):
            self.dead.append(DeadLetter(message, reason))

    def _confirmed(self, name: str) -> "_Confirm":
        if self.lost:
            raise ConnectionLost("the connection is gone")
        return _Confirm(self.steps, name)


@dataclass
class _Confirm:
    """A publish: a step before it, and one after the broker has it and before its confirm is read."""

    steps: Steps
    name: str

    def __enter__(self) -> None:
        self.steps(f"before {self.name}")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.steps(f"after {self.name}")


def _came_back(message: Message) -> Message:
    headers = {**message.headers, "x-delivery-count": message.delivery_count + 1}
    return Message(message.body, message.content_type, headers)


def copies(message: Message, count: int) -> Iterator[Message]:
    """Give the same message several times, each an object of its own."""
    return (Message(m.body, m.content_type, m.headers) for m in itertools.repeat(message, count))
