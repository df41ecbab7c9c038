"""``World``: broker, API, ledger and clock in memory, with a process that may crash and start again."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from events.message import Message
from events.outcome import CONTENT_TYPE, Outcome
from events.state_keys import StateKeys
from handler.backup.breaker import CircuitBreaker
from handler.backup.inquiry import Inquiry
from handler.backup.policy import Limits
from handler.backup.process import Process
from handler.backup.received import Receiver
from handler.backup.result import Result
from handler.backup.selection import Selection
from handler.backup.services import MessageSettings, Services
from handler.errors import ConnectionLost
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger, MemoryStore
from handler.ledger.sqlite import SqliteLedger
from tests.twins.api import MemoryApi
from tests.twins.broker import MemoryBroker
from tests.twins.clock import Clock
from tests.twins.events import PROJECT
from tests.twins.steps import Crash, SteppedApi, SteppedLedger, Steps

LedgerKind = Literal["sqlite", "memory", "none"]

DELAYS = (1, 2, 4, 60)
LEASE = 20.0
KEYS = StateKeys("q", (b"the key of all twins",))
MESSAGE_SETTINGS = MessageSettings(
    limits=Limits(delays=DELAYS, max_attempts=4, max_age=3600.0, settle_time=5.0),
    default_project=PROJECT,
    max_body_bytes=65_536,
    track_backups=True,
    track_deadline=3600.0,
    queue="q",
    home=PROJECT,
    crash_limit=20,
)
ROUNDS = 2_000
"""A run of a few messages takes far fewer rounds; a run with more never ends."""


@dataclass
class World:
    """A world of which ``kind`` says what a crash leaves of the ledger: a file, shared rows, or nothing.

    ``clock`` is the machine's wall clock, which may be set. ``steady`` is its monotonic time, and the time of
    broker and API.
    """

    kind: LedgerKind = "memory"
    folder: Path | None = None
    settings: MessageSettings = MESSAGE_SETTINGS
    concurrency: int = 32
    selection: Selection = field(default_factory=lambda: Selection(("autobk_snapshot_*",), ()))
    clock: Clock = field(default_factory=Clock)
    steady: Clock = field(default_factory=Clock)
    steps: Steps = field(default_factory=Steps)
    keys: StateKeys | None = KEYS
    crashes: list[str] = field(default_factory=list)
    handled: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = MemoryApi(self.steady)
        self.broker = MemoryBroker(self.steady, self.settings.limits.delays, self.steps)
        self.store = MemoryStore(self.clock)
        self.receiver = Receiver(self.keys, self.clock)
        self.start()

    def start(self) -> None:
        """Start a process, which knows only what ledger and broker have stored."""
        self.ledger = self._open_ledger()
        self.breaker = CircuitBreaker(
            self.concurrency, self.steady, doubt_pause=self.settings.limits.delays[0]
        )
        self.process = self.new_process()

    def upgrade(self, keys: StateKeys) -> None:
        """Start a process that has these keys."""
        self.keys = keys
        self.receiver = Receiver(keys, self.clock)
        self.start()

    def new_process(self, ledger: StoredLedger | None = None) -> Process:
        """Return a process with the present circuit breaker, and with the present or another ledger."""
        return Process(
            services=self.services(ledger),
            outbox=self.broker,
            selection=self.selection,
            notify=self.handled.append,
            drop_copies=True,
        )

    def services(self, ledger: StoredLedger | None = None) -> Services:
        """Return the services of a process."""
        stepped = SteppedLedger(ledger or self.ledger, self.steps)
        api = SteppedApi(self.api, self.steps)
        inquiry = Inquiry(api, self.breaker)
        return Services(api, stepped, self.breaker, self.settings, self.clock, self.keys, inquiry)

    def _open_ledger(self) -> StoredLedger:
        if self.kind == "sqlite":
            if self.folder is None:
                raise ValueError("a ledger in a file needs a folder")
            return SqliteLedger(self.folder / "ledger.db", self.clock, LEASE, monotonic=self.steady)
        if self.kind == "none":
            return MemoryLedger(self.clock, LEASE, ask_first=True, monotonic=self.steady)
        return StoredLedger(self.store, lease_seconds=LEASE, monotonic=self.steady)

    async def restart(self) -> None:
        """End the process at once and start another."""
        if self.kind != "memory":
            await self.ledger.aclose()
        self.broker.consumer_lost()
        self.start()

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        self.clock.advance(seconds)
        self.steady.advance(seconds)

    async def aclose(self) -> None:
        """Close the ledger."""
        await self.ledger.aclose()

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """The published outcomes in order."""
        return self.broker.outcomes

    def published(self) -> Sequence[str]:
        """Return the types of the published outcomes in order."""
        return [outcome.type for outcome in self.broker.outcomes]

    async def deliver(self, batch: int = 1) -> None:
        """Handle up to ``batch`` messages at once, as a worker does; each is acknowledged alone."""
        taken = self.broker.take(batch)
        await self._survive(lambda: _all([self._one(message) for message in taken]))

    async def invoke(self, batch: int) -> None:
        """Handle a batch as a function does: its messages are acknowledged or redelivered together."""
        taken = self.broker.take(batch)

        async def call() -> None:
            await _all([self._handle(message) for message in taken])
            for message in taken:
                self.broker.ack(message)

        await self._survive(call)

    async def until_quiet(self, batch: int = 1, *, as_function: bool = False) -> None:
        """Handle messages, and advance the clock to the next due message, until no message is left."""
        for _ in range(ROUNDS):
            if self.broker.ready:
                await (self.invoke(batch) if as_function else self.deliver(batch))
            elif (due := self.broker.next_due()) is not None:
                self.advance(max(0.0, due - self.steady.now))
                self.broker.expire()
            else:
                return
        raise AssertionError(f"not quiet after {ROUNDS} rounds: {self.broker.waiting[:3]}")

    async def run_for(self, seconds: float) -> None:
        """Handle messages as they come due for ``seconds`` of the world's time."""
        end = self.steady.now + seconds
        while self.steady.now < end:
            if self.broker.ready and (most := self.most_in_hand()):
                await self.deliver(most)
                continue
            due = self.broker.next_due()
            until = min(end, end if due is None or due <= self.steady.now else due)
            if self.broker.ready:
                until = min(until, self.steady.now + self.breaker.pause_left())
            self.advance(until - self.steady.now)
            self.broker.expire()

    def most_in_hand(self) -> int:
        """How many messages the process takes at once; a worker takes none while the breaker is open."""
        return self.breaker.limit

    async def sweep(self, overdue: float = 60.0) -> int:
        """Publish again what has been due for so long, as a worker's sweep does; return how much."""
        taken = await self.ledger.take_overdue(overdue=overdue, limit=1_000, lease=1.0) or ()
        for each in taken:
            self.broker.publish(Message(each.body, CONTENT_TYPE))
        return len(taken)

    async def until_swept(self) -> None:
        """Handle messages and sweep, until no message is left and none is recorded."""
        for _ in range(ROUNDS):
            await self.until_quiet()
            if not (await self.ledger.waiting(overdue=0.0, longest=0.0)).total:
                return
            self.advance(600.0)
            await self.sweep()
        raise AssertionError("messages stay recorded")

    async def run(self, *messages: Message) -> Sequence[str]:
        """Publish and handle messages until none is left; return the types of the published outcomes."""
        for message in messages:
            self.broker.publish(message)
        await self.until_quiet()
        return self.published()

    async def _one(self, message: Message) -> None:
        if await self._handle(message):
            self.broker.ack(message)

    async def _handle(self, message: Message) -> bool:
        try:
            await self.process.handle(self.receiver.receive(message))
        except ConnectionLost:
            return False
        return True

    async def _survive(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Crash as crash:
            self.crashes.append(str(crash))
            await self.restart()
        else:
            if self.broker.lost:
                self.broker.lost = False
                await self.restart()


async def _all(tasks: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run all tasks concurrently; a crash of one cancels the others."""
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def with_limits(**limits: Any) -> MessageSettings:
    """Return the message settings with other limits."""
    return MESSAGE_SETTINGS._replace(limits=MESSAGE_SETTINGS.limits._replace(**limits))
