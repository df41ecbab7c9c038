"""Sending dead letters back, so that each is in exactly one place whenever the program ends.

Each is published to the fanout exchange as a waiting message with a fresh state, confirmed, and only then
taken out of the dead letters. Killed between the two, it is in both places: sending it back again repeats
the same replay, which the ledger knows as one cause.

The worker that receives it claims it in the ledger first, as it does with every message: a snapshot that has
its backup is told again, without a call. So no ledger is needed here, and none that is out of date can harm.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import pika

from events.outcome import CONTENT_TYPE
from handler.broker.outbox import BrokerOutbox
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import HeldDeadLetter, QueueSession, selected
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import ReplayOutcomes

LOCK_SECONDS = 300.0
"""How long all dead letters are in hand; then others may have them, and the rest is read anew. A broker
closes the channel after 30 minutes."""

_UNLOCKED_SECONDS = 1.0
_BLOCK = 128
"""How many go at once where nothing holds them back: measured, one by one takes the broker half as much time
again, and us a third."""
_BLOCKS_IN_FLIGHT = 2
_PERSISTENT = 2

End = Literal["done", "stopped", "failures", "lock expired"]


class Source(Protocol):
    """Where dead letters come from: how many there were at its start, and how many were looked at."""

    total: int
    seen: int


class Replay:
    """One run of sending back. ``stop`` ends it after what is in flight; so do too many failures."""

    def __init__(
        self,
        *,
        outbox: BrokerOutbox,
        exchange: str,
        rate_limiter: RateLimiter,
        replay_outcomes: ReplayOutcomes,
        stop: asyncio.Event,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._exchange = exchange
        self._rate_limiter = rate_limiter
        self._replay_outcomes = replay_outcomes
        self._stop = stop
        self._lock_seconds = lock_seconds
        # Who waits for a pace or for answers wants each to go at once.
        self._size = _BLOCK if rate_limiter.unlimited and replay_outcomes.unlimited else 1
        self._slots = asyncio.Semaphore(_BLOCK * _BLOCKS_IN_FLIGHT // self._size)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._source: Source | None = None
        self.sent = 0

    @property
    def total(self) -> int:
        """How many dead letters are to be looked at in this turn."""
        return self._source.total if self._source else 0

    @property
    def seen(self) -> int:
        """How many of them have been."""
        return self._source.seen if self._source else 0

    async def from_queue(self, queue_session: QueueSession, filters: Filters, *, limit: int | None) -> End:
        """Send back what is chosen of what lies there now; what dies again meanwhile is behind it."""
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
        """Send back what a file has kept."""
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
            # The first opens the way; those after it keep their order.
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
        await self._outbox.send(self._exchange, "", dead_letter.sent_back(now=time.time()), properties)
        await held.remove()
        self.sent += 1

    async def _finish(self) -> None:
        """Let what is in flight be confirmed and taken away, before anything is put back."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        if self._failure:
            raise self._failure
