"""A run of `infra/up`: send the samples, and follow each event until its terminal outcome."""

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
from infra.local.account import Account, Summary
from infra.local.bus import Bus, Depths
from infra.local.display import Counters, Display, Rate, outcome_line, waiting_line
from infra.local.samples import Sample

PATIENCE: Final = 30.0
"""Seconds without an outcome or log line after which a run fails; its worker's longest delay is 5 s."""
QUEUES_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
COUNT_SECONDS: Final = 1.0
SHOW_SECONDS: Final = 0.5


class NoNews(RuntimeError):
    """Nothing has happened for `PATIENCE` seconds, although outcomes are missing."""


class Run:
    """One run: sends messages, and counts outcomes, dead letters and backups."""

    def __init__(
        self, bus: Bus, emulator: Emulator, display: Display, *, total: int, dead_before: int
    ) -> None:
        self.account = Account()
        self.total = total
        self._bus = bus
        self._emulator = emulator
        self._display = display
        self._dead_before = dead_before
        self._started = time.monotonic()
        self._news = asyncio.Event()
        self._outcome_ids: set[str] = set()
        self._rate = Rate()
        self._depths = Depths(0, 0, dead_before)
        self._backups = 0
        self._listed: Sequence[Mapping[str, Any]] | None = None
        self.state = "sending"

    def on_outcome(self, outcome: Mapping[str, Any]) -> None:
        """Count an outcome, and show it."""
        again = outcome["id"] in self._outcome_ids
        self._outcome_ids.add(outcome["id"])
        entry = self.account.add_outcome(outcome)
        self._rate.add()
        self._display.show(outcome_line(self._seconds(), entry, outcome, again=again))
        self._news.set()

    def on_worker_line(self, text: str) -> None:
        """Read a line of the worker's log: an ignored message, a delayed message or a warning."""
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
        """Send all samples and return when each has its outcome.

        Raises:
            NoNews: an outcome is missing, and nothing happens any more.
        """
        self._started = time.monotonic()
        without_fault: list[Sample] = []
        with_fault: list[Sample] = []
        for sample in samples:
            (with_fault if sample.fault else without_fault).append(sample)
        await self._declare(sample.snapshot for sample in without_fault if sample.snapshot)
        await self._send(without_fault)
        if with_fault:
            await self._until(self._all_calls_made)
            for sample in with_fault:
                await self._send_with_fault(sample)
            await asyncio.to_thread(self._emulator.clear_faults)
        self.state = "tracking"
        await self._until(lambda: self.account.is_settled)
        await self._queues_settled()

    async def _declare(self, snapshots: Iterable[Mapping[str, Any]]) -> None:
        if known := list(snapshots):
            await asyncio.to_thread(self._emulator.declare_snapshots, known)

    async def _send(self, samples: Sequence[Sample]) -> None:
        def counted() -> Iterator[Sample]:
            for sample in samples:
                self.account.send(sample)
                yield sample

        await self._bus.send(counted())

    async def _send_with_fault(self, sample: Sample) -> None:
        """Send one sample alone: the next fault must not replace its fault before its call is made."""
        await asyncio.to_thread(self._emulator.set_faults, [sample.fault or {}])
        await self._send([sample])
        await self._until(self._all_calls_made)

    def _all_calls_made(self) -> bool:
        """Return whether no event is left for which the worker may still create a backup."""
        return all(entry.accepted or entry.ends for entry in self.account.entries.values())

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._news.wait()
            except TimeoutError:
                raise NoNews(f"the worker has reported nothing for {PATIENCE:.0f} s") from None

    async def _queues_settled(self) -> None:
        """Wait until the broker's message counts agree with the outcomes."""
        end = time.monotonic() + QUEUES_SECONDS
        while time.monotonic() < end:
            self._depths = depths = await self._bus.depths()
            if not depths.ready and not depths.waiting and self._dead >= self.account.dead_lettered:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def keep_counting(self) -> None:
        """Count at the broker and the emulator again and again, until cancelled."""
        while True:
            await self.count()
            await asyncio.sleep(COUNT_SECONDS)

    async def keep_showing(self) -> None:
        """Show the counters again and again, however long a count takes."""
        while True:
            self._display.update(self.counters())
            await asyncio.sleep(SHOW_SECONDS)

    async def count(self) -> None:
        """Count at the broker and the emulator; if one does not answer, its last counts stay."""
        with suppress(BrokerError):
            self._depths = await self._bus.depths()
        with suppress(httpx.HTTPError):
            self._backups = await asyncio.to_thread(self._emulator.count_backups)

    async def list_backups(self) -> None:
        """List the backups, so that ``problems`` finds a snapshot that has several."""
        with suppress(httpx.HTTPError):
            self._listed = await asyncio.to_thread(self._emulator.backups)

    def counters(self) -> Counters:
        """Return the counts to display."""
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
        rate = self._rate.now()
        return Counters(counts, rate, self.state, self.total, self._seconds_left(rate))

    def _seconds_left(self, rate: float) -> float | None:
        """Estimate the time left: each event has an accepted and a terminal outcome."""
        if self.account.ended >= self.total:
            return 0.0
        left = 2 * self.total - self.account.count("accepted") - self.account.ended
        return left / rate if rate else None

    def summary(self) -> Summary:
        """Return the counts as of the last `count`."""
        return self.account.summary(
            backups=self._backups, dead=self._dead, waiting=self._depths.ready + self._depths.waiting
        )

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each missing or contradictory outcome, dead letter or backup."""
        yield from self.account.problems()
        if self._dead != self.account.dead_lettered:
            yield f"outcomes report {self.account.dead_lettered} dead letters, the queue has {self._dead}"
        if self._listed is None:
            yield "the emulator did not list its backups, so second backups of a snapshot were not searched"
        backups = Counter((backup["project_id"], backup["snapshot_id"]) for backup in self._listed or ())
        for (_, snapshot), count in backups.items():
            if count > 1:
                yield f"snapshot {snapshot} has {count} backups"

    @property
    def _dead(self) -> int:
        return self._depths.dead - self._dead_before

    def _seconds(self) -> float:
        return time.monotonic() - self._started
