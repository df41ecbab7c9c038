"""Replay outcomes: counts the outcome events of replayed dead letters, as workers publish them."""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from events.message import Message
from handler.broker.connection import BrokerConnection
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Topology

MAX_UNANSWERED = 50
"""How many replayed messages may be without an end while a failure threshold is set."""
ANSWER_TIMEOUT = 10.0
"""Seconds without any outcome after which messages without one no longer hold back others."""
END_TIMEOUT = 600.0
"""Seconds without any outcome after which backups in progress no longer hold back other messages."""
SAMPLE = 100
"""The failure rate is computed over so many of the latest terminal outcomes."""
MIN_SAMPLE = 10
"""With fewer outcomes the failure rate is not compared with the threshold."""

_REMEMBERED = 200_000
_PREFETCH = 500
_ACCEPTED, _COMPLETED, _FAILED = "backup.accepted", "backup.completed", "backup.failed"


class ReplayOutcomes:
    """Counts the outcomes of replayed messages, in bounded memory.

    With ``tracked`` backups (``TRACK_BACKUPS``) an accepted one is in progress: only its end is judged.
    ``accepted`` counts the events that were accepted, whatever became of them since.
    """

    def __init__(self, threshold: float | None = None, *, tracked: bool = False) -> None:
        self._threshold = threshold
        self._tracked = tracked
        self._expected: dict[str, bool] = {}
        """The events without an end; True: the backup is in progress."""
        self._passed: set[str] = set()
        """Those of them that no longer hold back other messages."""
        self._latest: deque[bool] = deque(maxlen=SAMPLE)
        self._answered = asyncio.Event()
        self.accepted = 0
        self.completed = 0
        self.failed = 0
        self.skipped = 0

    @property
    def unlimited(self) -> bool:
        """Whether no failure threshold is set."""
        return self._threshold is None

    @property
    def unfinished(self) -> int:
        """How many replayed events have no terminal outcome yet."""
        return len(self._expected)

    @property
    def too_many_failures(self) -> bool:
        """Whether the failure rate is above the threshold (0 to 1)."""
        if self._threshold is None or len(self._latest) < MIN_SAMPLE:
            return False
        return self._latest.count(False) / len(self._latest) > self._threshold

    def expect(self, event_id: str) -> None:
        """Expect an outcome of this event; called before the event is published."""
        self._expected[event_id] = False
        if len(self._expected) > _REMEMBERED:
            self._forget(next(iter(self._expected)))

    def record(self, event_id: object, type_: object) -> None:
        """Count an outcome of a replayed event, each type once."""
        if not isinstance(event_id, str) or event_id not in self._expected:
            return
        if type_ == _ACCEPTED:
            self.accepted += not self._expected[event_id]
            self._expected[event_id] = True
            if not self._tracked:
                self._end(event_id, good=True)
        else:
            self.completed += type_ == _COMPLETED
            self.failed += type_ == _FAILED
            self.skipped += type_ not in (_COMPLETED, _FAILED)
            self._end(event_id, good=type_ != _FAILED)
        self._answered.set()

    def _end(self, event_id: str, *, good: bool) -> None:
        self._forget(event_id)
        self._latest.append(good)

    def _forget(self, event_id: str) -> None:
        del self._expected[event_id]
        self._passed.discard(event_id)

    async def wait_for_room(self, stop: asyncio.Event) -> None:
        """Wait until another message may be published; without a threshold, return at once."""
        if not self.unlimited:
            await self._wait_while(lambda: self._holding() >= MAX_UNANSWERED, stop)

    async def wait_for_answers(self, stop: asyncio.Event) -> None:
        """Wait until every replayed event has its end, or no outcome has come for a time."""
        await self._wait_while(lambda: self._holding() > 0, stop)

    async def wait_for_ends(self, stop: asyncio.Event) -> None:
        """Wait until every replayed event has its terminal outcome, however long that takes."""
        await self._wait_while(lambda: bool(self._expected), stop)

    def _holding(self) -> int:
        return len(self._expected) - len(self._passed)

    async def _wait_while(self, condition: Callable[[], bool], stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while condition() and not self.too_many_failures and not stop.is_set():
                silent = [each for each, begun in self._expected.items() if not begun]
                silent = [each for each in silent if each not in self._passed]
                seconds = ANSWER_TIMEOUT if silent else END_TIMEOUT
                if not await self._answer_within(seconds, stopped):
                    self._passed.update(silent or self._expected)
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
