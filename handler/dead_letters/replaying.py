"""Replays dead letters: publishes each to the fanout exchange, and then removes it from the queue.

The message is published as a waiting message with a fresh state. After the broker has confirmed it, the dead
letter is removed. If the program is killed between the two, the message is in both places. A second replay
then has the same replay id, which the ledger treats as the same cause.

The worker that receives the message claims the snapshot in the ledger first. If the snapshot has its backup,
the worker publishes that outcome again without a create call. So a replay asks no ledger about the snapshot.

The state is signed as that of every waiting message is. A worker that does not verify it handles the message
as one more delivery of an event that has failed, and publishes that failure again.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import pika

from events.outcome import CONTENT_TYPE
from events.state_keys import StateKeys
from handler.broker.outbox import BrokerOutbox
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import HeldDeadLetter, QueueSession, selected
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes

LOCK_SECONDS = 300.0
"""How long a replay holds the lock before another operator may have it and a new reading starts. RabbitMQ
closes the channel after 30 minutes."""

_UNLOCKED_SECONDS = 1.0
_BLOCK = 128
"""How many messages are published at once without a rate or a threshold. Measured: one at a time costs the
broker half as much time again, and this program a third."""
_BLOCKS_IN_FLIGHT = 2
_PERSISTENT = 2

End = Literal["done", "stopped", "failures", "lock expired"]


class Source(Protocol):
    """A source of dead letters: ``total`` is their number at the start, ``seen`` how many were read."""

    total: int
    seen: int


class Replay:
    """One replay. It ends early if ``stop`` is set or too many fail, after what is in flight is confirmed."""

    def __init__(
        self,
        *,
        outbox: BrokerOutbox,
        exchange: str,
        keys: StateKeys | None,
        rate_limiter: RateLimiter,
        replay_outcomes: ReplayOutcomes,
        stop: asyncio.Event,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._exchange = exchange
        self._keys = keys
        self._rate_limiter = rate_limiter
        self._replay_outcomes = replay_outcomes
        self._stop = stop
        self._lock_seconds = lock_seconds
        # With a rate or a threshold, each message is published on its own.
        self._size = _BLOCK if rate_limiter.unlimited and replay_outcomes.unlimited else 1
        self._slots = asyncio.Semaphore(_BLOCK * _BLOCKS_IN_FLIGHT // self._size)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._source: Source | None = None
        self.sent = 0

    @property
    def total(self) -> int:
        """How many dead letters the current reading has."""
        return self._source.total if self._source else 0

    @property
    def seen(self) -> int:
        """How many of them were read."""
        return self._source.seen if self._source else 0

    async def from_queue(self, queue_session: QueueSession, filters: Filters, *, limit: int | None) -> End:
        """Replay the matching dead letters that are in the queue now, and none that is added meanwhile."""
        there: int | None = None
        while True:
            before = self.sent
            async with queue_session.open() as found:
                found.total = found.total if there is None else min(there, found.total)
                rest = None if limit is None else limit - self.sent
                self._source = found
                dead_letters = selected(found, filters, limit=rest, stop=self._stop)
                end = await self._send_all(dead_letters, self._lock_seconds)
                there = found.total - (self.sent - before)
            if end != "lock expired":
                return end
            await asyncio.sleep(_UNLOCKED_SECONDS)

    async def from_file(self, source: Source, dead_letters: AsyncIterator[HeldDeadLetter]) -> End:
        """Replay the dead letters of an archive."""
        self._source = source
        return await self._send_all(dead_letters, float("inf"))

    async def _send_all(self, dead_letters: AsyncIterator[HeldDeadLetter], seconds: float) -> End:
        over = time.monotonic() + seconds
        block: list[HeldDeadLetter] = []
        try:
            async for held in dead_letters:
                await self._replay_outcomes.wait_for_room(self._stop)
                await self._rate_limiter.acquire(self._stop)
                if end := self._reason_to_end(over):
                    return end
                block.append(held)
                if len(block) == self._size:
                    await self._start(block)
                    block = []
            if self._stop.is_set():
                return "stopped"
            if block:
                await self._start(block)
            return "done"
        finally:
            await self._finish()

    def _reason_to_end(self, over: float) -> End | None:
        if self._stop.is_set():
            return "stopped"
        if self._replay_outcomes.too_many_failures:
            return "failures"
        return "lock expired" if time.monotonic() > over else None

    async def _start(self, block: Sequence[HeldDeadLetter]) -> None:
        await self._slots.acquire()
        if self._failure:
            raise self._failure
        for held in block:
            self._replay_outcomes.expect(held.dead_letter.event_id)
        task = asyncio.create_task(self._send(block))
        self._in_flight.add(task)
        task.add_done_callback(self._done)
        if not self.sent:
            # The first publish opens the channel; the others then keep their order.
            await asyncio.wait({task})

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            self._failure = self._failure or task.exception()
        self._slots.release()

    async def _send(self, block: Sequence[HeldDeadLetter]) -> None:
        await asyncio.gather(*(self._send_one(held) for held in block))

    async def _send_one(self, held: HeldDeadLetter) -> None:
        dead_letter = held.dead_letter
        properties = pika.BasicProperties(
            content_type=CONTENT_TYPE, delivery_mode=_PERSISTENT, message_id=dead_letter.replay_id
        )
        body = dead_letter.sent_back(now=time.time(), keys=self._keys)
        await self._outbox.send(self._exchange, "", body, properties)
        await held.remove()
        self.sent += 1

    async def _finish(self) -> None:
        """Wait until what is in flight is confirmed and removed, before the rest is returned to the queue."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        if self._failure:
            raise self._failure
