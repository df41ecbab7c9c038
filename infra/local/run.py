"""A run: send the samples, follow each to its end, and settle the account."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import httpx

from handler.errors import BrokerError
from infra.emulator.testing import Emulator
from infra.local.account import ACCEPTED, Account, Summary
from infra.local.bus import Bus, Depths
from infra.local.display import Counters, Display, Rate, outcome_line, waiting_line
from infra.local.samples import Sample

PATIENCE: Final = 30.0
"""Seconds without any news after which a run gives up; the longest wait of its worker is five."""
QUEUES_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
COUNT_SECONDS: Final = 1.0
COUNTING_SHARE: Final = 10  # counting many backups takes long: spend a tenth of the time on it


class NoNews(RuntimeError):
    """Nothing has happened for long, and not everything is accounted for."""


class Run:
    """What is known of one run."""

    def __init__(self, bus: Bus, emulator: Emulator, display: Display, *, dead_before: int) -> None:
        self.account = Account()
        self._bus = bus
        self._emulator = emulator
        self._display = display
        self._dead_before = dead_before
        self._started = time.monotonic()
        self._news = asyncio.Event()
        self._told: set[str] = set()
        self._rate = Rate()
        self._depths = Depths(0, 0, dead_before)
        self._backups: Sequence[Mapping[str, Any]] = ()
        self.state = "sending"

    def on_outcome(self, outcome: Mapping[str, Any]) -> None:
        """Note an outcome, and show it."""
        again = outcome["id"] in self._told
        self._told.add(outcome["id"])
        entry = self.account.told(outcome)
        if outcome["type"] != ACCEPTED:
            self._rate.add()
        self._display.show(outcome_line(self._seconds(), entry, outcome, again=again))
        self._news.set()

    def on_worker_line(self, text: str) -> None:
        """Read a line of the worker's log: what it ignored, what waits, and what it warns of."""
        try:
            line = json.loads(text)
        except ValueError:
            self._display.say(f"worker: {text}")
            return
        match line:
            case {"action": "message.ignored"}:
                self.account.ignored += 1
                self._news.set()
            case {"action": "message.waiting", "event_id": event_id, "reason": reason} if reason != "track":
                self._news.set()
                if entry := self.account.entries.get(event_id):
                    self._display.show(waiting_line(self._seconds(), entry, reason))
            case {"level": "WARNING" | "ERROR", "message": message}:
                self._display.say(f"worker: {message}")

    async def play(self, samples: Iterable[Sample]) -> None:
        """Send everything and return when all of it has come to its end.

        Raises:
            NoNews: it does not.
        """
        self._started = time.monotonic()
        calm: list[Sample] = []
        troubled: list[Sample] = []
        for sample in samples:
            (troubled if sample.fault else calm).append(sample)
        await self._declare(sample.snapshot for sample in calm if sample.snapshot)
        await self._send(calm)
        if troubled:
            await self._until(self._nothing_new)
            for sample in troubled:
                await self._send_into_trouble(sample)
            await asyncio.to_thread(self._emulator.clear_faults)
        self.state = "waiting for the last outcomes"
        await self._until(lambda: self.account.is_settled)
        await self._queues_settled()

    async def _declare(self, snapshots: Iterable[Mapping[str, Any]]) -> None:
        if known := list(snapshots):
            await asyncio.to_thread(self._emulator.declare_snapshots, known)

    async def _send(self, samples: Sequence[Sample]) -> None:
        def noted() -> Iterator[Sample]:
            for sample in samples:
                self.account.send(sample)
                yield sample

        await self._bus.send(noted())

    async def _send_into_trouble(self, sample: Sample) -> None:
        """Send one alone: the next fault may replace its own only after it has been met."""
        await asyncio.to_thread(self._emulator.set_faults, [sample.fault or {}])
        await self._send([sample])
        await self._until(self._nothing_new)

    def _nothing_new(self) -> bool:
        """Whether no event is left that may still ask for a backup."""
        return all(entry.accepted or entry.ends for entry in self.account.entries.values())

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._news.wait()
            except TimeoutError:
                raise NoNews(f"nothing has happened for {PATIENCE:.0f} s") from None

    async def _queues_settled(self) -> None:
        """Wait until the broker's counts show what has been told."""
        end = time.monotonic() + QUEUES_SECONDS
        while time.monotonic() < end:
            self._depths = depths = await self._bus.depths()
            if not depths.ready and not depths.waiting and self._dead >= self.account.dead_tellings:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def keep_counting(self) -> None:
        """Bring the shown figures up to date again and again."""
        while True:
            begun = time.monotonic()
            await self.count()
            self._display.update(self.counters())
            await asyncio.sleep(max(COUNT_SECONDS, COUNTING_SHARE * (time.monotonic() - begun)))

    async def count(self) -> None:
        """Look at broker and emulator; what cannot be asked any more stays as it was."""
        with suppress(BrokerError):
            self._depths = await self._bus.depths()
        with suppress(httpx.HTTPError):
            self._backups = await asyncio.to_thread(self._emulator.backups)

    def counters(self) -> Counters:
        """Give what is shown."""
        summary = self.summary()
        counts = {
            "sent": summary.sent,
            "accepted": summary.accepted,
            "completed": summary.completed,
            "failed": summary.failed,
            "skipped": summary.skipped,
            "ignored": self.account.ignored,
            "backups": summary.backups,
            "dead": summary.dead,
            "waiting": summary.waiting,
        }
        return Counters(counts, self._rate.now(), self.state)

    def summary(self) -> Summary:
        """Give the figures of the last count."""
        return self.account.summary(
            backups=len(self._backups), dead=self._dead, waiting=self._depths.ready + self._depths.waiting
        )

    def problems(self) -> Iterator[str]:
        """Say what is unaccounted for, and what should not be."""
        yield from self.account.problems()
        if self._dead != self.account.dead_tellings:
            yield f"{self.account.dead_tellings} dead letters were told of, {self._dead} are there"
        made = Counter((backup["project_id"], backup["snapshot_id"]) for backup in self._backups)
        for (_, snapshot), count in made.items():
            if count > 1:
                yield f"snapshot {snapshot} has {count} backups"

    @property
    def _dead(self) -> int:
        return self._depths.dead - self._dead_before

    def _seconds(self) -> float:
        return time.monotonic() - self._started
