"""What becomes of those that were sent back: the outcome events, as they are told."""

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
"""How many may be sent back without an answer where failures are to stop the rest."""
ANSWER_TIMEOUT = 10.0
"""Seconds without any answer after which those that were sent are taken to wait for something else."""
SAMPLE = 100
"""The share of failures is that among so many of the latest answers."""
MIN_SAMPLE = 10
"""Fewer answers prove nothing."""

_REMEMBERED = 10_000
_PREFETCH = 500
_FAILED = "backup.failed"


class ReplayOutcomes:
    """Counts answers to what was sent back; memory is bounded however much is sent."""

    def __init__(self, threshold: float | None = None) -> None:
        self._threshold = threshold
        self._unanswered: dict[str, None] = {}
        self._latest: deque[bool] = deque(maxlen=SAMPLE)
        self._answered = asyncio.Event()
        self.good = 0
        self.failed = 0

    @property
    def unlimited(self) -> bool:
        """Whether failures never stop the rest."""
        return self._threshold is None

    @property
    def too_many_failures(self) -> bool:
        """Whether the failures have passed the threshold (a share, 0 to 1)."""
        if self._threshold is None or len(self._latest) < MIN_SAMPLE:
            return False
        return self._latest.count(False) / len(self._latest) > self._threshold

    def expect(self, event_id: str) -> None:
        """Await the answer to an event; called before it is sent."""
        self._unanswered[event_id] = None
        if len(self._unanswered) > _REMEMBERED:
            del self._unanswered[next(iter(self._unanswered))]

    def record(self, event_id: object, type_: object) -> None:
        """Count an outcome if it is the first that answers one of ours."""
        if not isinstance(event_id, str) or event_id not in self._unanswered:
            return
        del self._unanswered[event_id]
        good = type_ != _FAILED
        self._latest.append(good)
        self.good += good
        self.failed += not good
        self._answered.set()

    async def wait_for_room(self, stop: asyncio.Event) -> None:
        """Return when the next may be sent: at once unless failures are to stop it."""
        if not self.unlimited:
            await self._until_fewer_than(MAX_UNANSWERED, stop)

    async def wait_for_answers(self, stop: asyncio.Event) -> None:
        """Return when all are answered, or none has been for a while."""
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
    """Let ``verdicts`` hear every outcome, through a queue that the broker removes with the connection."""
    channel = await connection.channel()
    name = f"{topology.dead}.verdicts.{secrets.token_hex(4)}"
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
    """Return whom an outcome answers, and its type."""
    try:
        value = json.loads(message.body)
    except (ValueError, RecursionError):
        return None, None
    return (value.get("correlationid"), value.get("type")) if isinstance(value, dict) else (None, None)
