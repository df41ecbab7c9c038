"""``MemoryBroker``: queue, wait queues, dead letters and outcomes in memory, with a clock that tests advance.

It is the ``Outbox`` of a ``Process`` and the queue that it consumes. Like a quorum queue it counts how often
a message was redelivered after its consumer disappeared, and dead-letters it silently beyond the limit.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.message import Message
from events.outcome import CONTENT_TYPE, Outcome
from handler.broker.topology import DELIVERY_LIMIT, PARKED_SECONDS
from handler.errors import ConnectionLost, Unroutable
from tests.twins.steps import Steps


@dataclass(frozen=True)
class DeadLetter:
    """A dead-lettered message with its ``dl-`` headers; without any if the broker dead-lettered it."""

    message: Message
    reason: Mapping[str, Any]


@dataclass(frozen=True)
class Waiting:
    """A message that is in a wait queue until ``due``, a time of the clock; one that is ``parked`` may leave
    earlier.
    """

    due: float
    seconds: int
    body: bytes
    parked: bool = False


@dataclass
class MemoryBroker:
    """A broker in memory: messages are in ``ready``, ``in_hand``, ``waiting`` or ``dead``.

    ``outcomes`` has the published outcomes. If ``bound`` is False, outcomes are unroutable. If ``lost`` is
    True, every publish fails as over a lost connection.
    """

    clock: Callable[[], float]
    delays: Sequence[int]
    steps: Steps = field(default_factory=Steps)
    ready: deque[Message] = field(default_factory=deque)
    in_hand: list[Message] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    probes: dict[str, float] = field(default_factory=dict)
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
        """Acknowledge a message in hand."""
        self.steps("before ack")
        self.in_hand = [each for each in self.in_hand if each is not message]
        self.steps("after ack")

    def consumer_lost(self) -> None:
        """Put the messages in hand back to the front and count it, as RabbitMQ does for a lost consumer."""
        counted = [_redelivered(message) for message in self.in_hand]
        self.in_hand.clear()
        self.dead += [DeadLetter(each, {}) for each in counted if each.delivery_count > DELIVERY_LIMIT]
        self.ready.extendleft(reversed([each for each in counted if each.delivery_count <= DELIVERY_LIMIT]))

    def expire(self) -> None:
        """Move messages whose delay has passed back into the queue, the earliest first."""
        now = self.clock()
        due = sorted((each for each in self.waiting if each.due <= now), key=lambda each: each.due)
        self.waiting = [each for each in self.waiting if each.due > now]
        self.ready.extend(Message(each.body, CONTENT_TYPE) for each in due)

    def next_due(self) -> float | None:
        """Return when the next waiting message is due; None if none waits."""
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

    async def delay_unroutable(self, body: bytes, outcome_type: str, *, seconds: float) -> None:
        """See ``handler.backup.ports.Outbox``."""
        now = self.clock()
        if now >= self.probes.get(outcome_type, now):
            self.probes[outcome_type] = now + self.delays[0]
            await self.delay(body, seconds=self.delays[0])
            return
        with self._confirmed("delay"):
            self.waiting.append(Waiting(now + PARKED_SECONDS, PARKED_SECONDS, body, parked=True))

    async def release_unroutable(self) -> None:
        """See ``handler.backup.ports.Outbox``."""
        parked = [each for each in self.waiting if each.parked]
        self.waiting = [each for each in self.waiting if not each.parked]
        self.ready.extend(Message(each.body, CONTENT_TYPE) for each in parked)

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
    """A publish with a step before it, and one after the broker has it and before its confirm is read."""

    steps: Steps
    name: str

    def __enter__(self) -> None:
        self.steps(f"before {self.name}")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.steps(f"after {self.name}")


def _redelivered(message: Message) -> Message:
    headers = {**message.headers, "x-delivery-count": message.delivery_count + 1}
    return Message(message.body, message.content_type, headers)


def copies(message: Message, count: int) -> Iterator[Message]:
    """Yield the same message several times, each time as a new object."""
    return (Message(m.body, m.content_type, m.headers) for m in itertools.repeat(message, count))
