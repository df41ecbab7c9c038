"""Replay outcomes: counts the outcome events of replayed dead letters, as workers publish them."""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from events.message import Message
from handler.broker.connection import BrokerConnection
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Topology

MAX_UNANSWERED = 50
"""How many replayed messages may be without an outcome while a failure threshold is set."""
ANSWER_TIMEOUT = 10.0
"""Seconds without any outcome after which the missing ones are no longer awaited."""
SAMPLE = 100
"""The failure rate is computed over so many of the latest outcomes."""
MIN_SAMPLE = 10
"""With fewer outcomes the failure rate is not compared with the threshold."""

_REMEMBERED = 10_000
_PREFETCH = 500
_FAILED = "backup.failed"


class ReplayOutcomes:
    """Counts the outcomes of replayed messages, in bounded memory."""

    def __init__(self, threshold: float | None = None) -> None:
        self._threshold = threshold
        self._unanswered: dict[str, None] = {}
        self._latest: deque[bool] = deque(maxlen=SAMPLE)
        self._answered = asyncio.Event()
        self.good = 0
        self.failed = 0

    @property
    def unlimited(self) -> bool:
        """Whether no failure threshold is set."""
        return self._threshold is None

    @property
    def too_many_failures(self) -> bool:
        """Whether the failure rate is above the threshold (0 to 1)."""
        if self._threshold is None or len(self._latest) < MIN_SAMPLE:
            return False
        return self._latest.count(False) / len(self._latest) > self._threshold

    def expect(self, event_id: str) -> None:
        """Expect an outcome of this event; called before the event is published."""
        self._unanswered[event_id] = None
        if len(self._unanswered) > _REMEMBERED:
            del self._unanswered[next(iter(self._unanswered))]

    def record(self, event_id: object, type_: object) -> None:
        """Count an outcome if it is the first one of a replayed event."""
        if not isinstance(event_id, str) or event_id not in self._unanswered:
            return
        del self._unanswered[event_id]
        good = type_ != _FAILED
        self._latest.append(good)
        self.good += good
        self.failed += not good
        self._answered.set()

    async def wait_for_room(self, stop: asyncio.Event) -> None:
        """Wait until another message may be published; without a threshold, return at once."""
        if not self.unlimited:
            await self._until_fewer_than(MAX_UNANSWERED, stop)

    async def wait_for_answers(self, stop: asyncio.Event) -> None:
        """Wait until every replayed event has its outcome, or none has arrived for ``ANSWER_TIMEOUT``."""
        await self._until_fewer_than(1, stop)

    async def _until_fewer_than(self, number: int, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while len(self._unanswered) >= number and not self.too_many_failures and not stop.is_set():
                if not await self._answer_within(ANSWER_TIMEOUT, stopped):
                    self._unanswered.clear()
        finally:
            stopped.cancel()

    async def _answer_within(self, seconds: float, stopped: "asyncio.Future[Any]") -> bool:
        self._answered.clear()
        answered = asyncio.ensure_future(self._answered.wait())
        ends: set[asyncio.Future[Any]] = {answered, stopped}
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        return bool(done)


@asynccontextmanager
async def record_outcomes(
    connection: BrokerConnection, topology: Topology, replay_outcomes: ReplayOutcomes
) -> AsyncIterator[None]:
    """Record every outcome, through an exclusive queue that the broker deletes with the connection."""
    channel = await connection.channel()
    name = f"{topology.dead}.replay-outcomes.{secrets.token_hex(4)}"
    await channel.call(
        channel.raw.queue_declare, queue=name, exclusive=True, arguments={"x-queue-type": "classic"}
    )
    await channel.call(channel.raw.queue_bind, queue=name, exchange=topology.result_exchange, routing_key="#")

    def record(delivery: Delivery) -> None:
        delivery.ack()
        replay_outcomes.record(*_answer(delivery.message))

    await Consumer(channel, name, record, lambda: None).set_prefetch(_PREFETCH)
    try:
        yield
    finally:
        if not channel.closed.done():
            await channel.call(channel.raw.queue_delete, queue=name)
            await channel.close()


def _answer(message: Message) -> tuple[object, object]:
    """Return the ``correlationid`` and the type of an outcome."""
    try:
        value = json.loads(message.body)
    except (ValueError, RecursionError):
        return None, None
    return (value.get("correlationid"), value.get("type")) if isinstance(value, dict) else (None, None)
