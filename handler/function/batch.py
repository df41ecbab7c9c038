"""A batch: handles the messages of one function call within its time, as a worker would.

The platform acknowledges on its own and repeats whole calls at best. So no message may be left when a call
returns: unfinished ones are put into a wait queue.

Dangers:
- Handling is not cut off once it publishes what replaces the message: else an event could end twice.
- Handling that is cut off may have sent its request. Its claim is not renewed, so that a lookup comes first.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from events.message import Message, WaitReason
from events.outcome import Outcome
from handler.backup.clouds import AnyBreaker
from handler.backup.ports import Outbox
from handler.backup.process import Process
from handler.backup.received import Received
from handler.backup.result import Kind, Result
from handler.errors import ConnectionLost
from handler.function.deadline import Deadline
from handler.settings import Settings

log = logging.getLogger(__name__)


class BatchServices(NamedTuple):
    """What a batch works with. ``lost`` is done once the connection of ``outbox`` is gone.

    ``clock`` gives seconds since the epoch, the same as the process's.
    """

    outbox: Outbox
    process: Callable[[Outbox], Process]
    breaker: AnyBreaker
    settings: Settings
    lost: asyncio.Future[ConnectionLost]
    clock: Callable[[], float] = time.time


class MarkedOutbox:
    """An outbox that records in which tasks publishing has begun."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.begun: set[asyncio.Task[Any] | None] = set()

    async def publish_outcome(self, outcome: Outcome) -> None:
        """See ``handler.backup.ports.Outbox.publish_outcome``."""
        self.begun.add(asyncio.current_task())
        await self._outbox.publish_outcome(outcome)

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """See ``handler.backup.ports.Outbox.delay``."""
        self.begun.add(asyncio.current_task())
        await self._outbox.delay(body, seconds=seconds)

    async def delay_unroutable(self, body: bytes, outcome_type: str, *, seconds: float) -> None:
        """See ``handler.backup.ports.Outbox.delay_unroutable``."""
        self.begun.add(asyncio.current_task())
        await self._outbox.delay_unroutable(body, outcome_type, seconds=seconds)

    async def release_unroutable(self) -> None:
        """See ``handler.backup.ports.Outbox.release_unroutable``."""
        await self._outbox.release_unroutable()

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """See ``handler.backup.ports.Outbox.dead_letter``."""
        self.begun.add(asyncio.current_task())
        await self._outbox.dead_letter(message, reason)


class Batch:
    """Handles messages over one connection. ``kinds`` counts what became of them."""

    def __init__(self, services: BatchServices, deadline: Deadline) -> None:
        self._breaker = services.breaker
        self._settings = services.settings
        self._lost = services.lost
        self._clock = services.clock
        self._deadline = deadline
        self._outbox = MarkedOutbox(services.outbox)
        self._process = services.process(self._outbox)
        self._running: dict[asyncio.Task[Result], Received] = {}
        self._left: list[Received] = []
        self._cut_off: list[Received] = []
        self.kinds: Counter[Kind] = Counter()

    async def run(self, messages: Iterable[Received]) -> Sequence[Received]:
        """Handle the messages; return those that nothing replaces yet, because the connection was lost.

        Raises:
            ConnectionLost: the connection was lost while unfinished messages were put into a wait queue.

        """
        todo = deque(messages)
        try:
            while (todo or self._running) and not self._over():
                while todo and len(self._running) < self._room():
                    self._start(todo.popleft())
                await self._progress(until=self._deadline.soft)
            await self._finish()
        finally:
            await self._cancel(self._running)
        if self._lost.done():
            return [*self._left, *self._cut_off, *todo]
        await asyncio.gather(
            *(self._park_cut_off(received) for received in self._cut_off),
            *(self._park(received, self._settings.wait_ladder[0]) for received in todo),
        )
        return self._left

    def _over(self) -> bool:
        return self._lost.done() or time.monotonic() >= self._deadline.soft

    def _room(self) -> int:
        """How many may be in hand; while the circuit breaker is open, messages are only delayed."""
        return self._settings.concurrency if self._breaker.pause_left() else self._breaker.limit

    def _start(self, received: Received) -> None:
        self._running[asyncio.create_task(self._process.handle(received))] = received

    async def _progress(self, *, until: float) -> None:
        """Wait until one is done, the connection is lost, or time is up."""
        ends: set[asyncio.Future[Any]] = {*self._running, self._lost}
        seconds = max(0.0, until - time.monotonic())
        done, _ = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self._running if task in done]:
            self._settle(task)

    def _settle(self, task: asyncio.Task[Result]) -> None:
        """Record how the handling of a message ended."""
        received = self._running.pop(task)
        if task.cancelled():
            self._cut_off.append(received)
        elif isinstance(error := task.exception(), ConnectionLost):
            log.info("to be handled again: %s", error, extra={"action": "message.left"})
            self._left.append(received)
        elif isinstance(error, Exception):
            # Raised here it would cancel the others.
            log.error("a bug: please report it", exc_info=error, extra={"action": "message.bug"})
            self._left.append(received)
        else:
            self.kinds[task.result().kind] += 1

    async def _finish(self) -> None:
        """Let handling end: without a connection until time is up, afterwards only where it publishes."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, self._deadline.soft - time.monotonic()))
        await self._cancel(task for task in self._running if task not in self._outbox.begun)
        if self._running:
            await asyncio.wait(self._running)
        for task in list(self._running):
            self._settle(task)

    async def _cancel(self, tasks: Iterable[asyncio.Task[Result]]) -> None:
        tasks = list(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _park_cut_off(self, received: Received) -> None:
        """Park a message whose handling was cut off until its claim has ended."""
        await self._park(received.in_doubt(self._clock()), self._settings.lease_seconds, "lookup")

    async def _park(self, received: Received, seconds: float, reason: WaitReason = "pause") -> None:
        await self._process.park(received, seconds=seconds, reason=reason)
        self.kinds["waiting"] += 1
