"""Benchmark of message handling and of the ledger within the process, without broker and API.

``python -m tests.bench.story`` prints microseconds of CPU for each event, of all threads and of the kernel,
in the fastest round. In *busy* rows the loop computes between the calls of the ledger, as a worker's does;
``ms`` is how long a claim takes.
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from events.message import Message, State, wrap
from events.outcome import AcceptedBackup, CompletedBackup, Outcome
from handler.backup.breaker import CircuitBreaker
from handler.backup.inquiry import Inquiry
from handler.backup.ports import Finished, Granted, Key, Waiting
from handler.backup.process import Process
from handler.backup.received import Receiver
from handler.backup.request import BackupRequest
from handler.backup.selection import Selection
from handler.backup.services import Services
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger
from handler.ledger.stores import open_ledger
from handler.telemetry.counters import LedgerCounters
from handler.telemetry.telemetry import Telemetry
from tests.bench.throughput import event
from tests.twins.api import MemoryApi
from tests.twins.world import KEYS, MESSAGE_SETTINGS

BUSY_SECONDS = 200e-6
"""CPU that the loop uses for each event, beside the calls of the ledger."""

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
Row = tuple[float, str]
"""Microseconds of CPU for each event, and further text to print."""


class InstantApi(MemoryApi):
    """An API that accepts every create at once and stores nothing."""

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        request.body()
        return AcceptedBackup(id=str(uuid.uuid4()), name=request.name)


class InstantOutbox:
    """An outbox that confirms every publish at once."""

    async def publish_outcome(self, outcome: Outcome) -> None: ...

    async def delay(self, body: bytes, *, seconds: float) -> None: ...

    async def delay_unroutable(self, body: bytes, outcome_type: str, *, seconds: float) -> None: ...

    async def release_unroutable(self) -> None: ...

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None: ...


async def handling(count: int, *, track: bool) -> Row:
    telemetry = Telemetry()
    settings = MESSAGE_SETTINGS._replace(track_backups=track)
    breaker = CircuitBreaker(64, time.monotonic, doubt_pause=5)
    api = InstantApi(time.time)
    process = Process(
        services=Services(
            api,
            MemoryLedger(notify=telemetry.committed),
            breaker,
            settings,
            time.time,
            KEYS,
            Inquiry(api, breaker),
        ),
        outbox=InstantOutbox(),
        selection=Selection(("autobk_snapshot_*",), ()),
        notify=telemetry.handled,
        follow=telemetry.follow,
    )
    messages = [Message(event(), "application/cloudevents+json") for _ in range(count)]
    receiver = Receiver(KEYS, time.time)
    began = time.process_time()
    for message in messages:
        await process.handle(receiver.receive(message))
    return 1e6 * (time.process_time() - began) / count, ""


async def promises(url: str, count: int, callers: int, *, busy: float) -> Row:
    counters = LedgerCounters()
    ledger = open_ledger(url, lease_seconds=60, notify=counters.count)
    await ledger.check()
    keys = [Key(PROJECT, str(uuid.uuid4())) for _ in range(count)]
    waits: list[float] = []
    commits, cpu, began = counters.commits, time.process_time(), time.perf_counter()
    await asyncio.gather(*(_caller(ledger, keys, waits, busy) for _ in range(callers)))
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    shared = 2 * count / (counters.commits - commits)
    await ledger.aclose()
    text = (
        f"{count / seconds:7.0f} events/s, {shared:5.1f} changes/commit, {statistics.median(waits):6.1f} ms"
    )
    return 1e6 * (cpu / count - busy), text


async def records(url: str, count: int, callers: int) -> Row:
    """Record each waiting message and delete the record, as a tracked backup does once more than it waits."""
    counters = LedgerCounters()
    ledger = open_ledger(url, lease_seconds=60, notify=counters.count)
    await ledger.check()
    body = wrap(Message(event(), "application/cloudevents+json"), State(time.time()), event_id="e", keys=KEYS)
    ids = [str(uuid.uuid4()) for _ in range(count)]
    commits, cpu, began = counters.commits, time.process_time(), time.perf_counter()
    await asyncio.gather(*(_recorder(ledger, ids, body) for _ in range(callers)))
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    shared = 2 * count / (counters.commits - commits)
    await ledger.aclose()
    return 1e6 * cpu / count, f"{count / seconds:7.0f} events/s, {shared:5.1f} changes/commit"


async def tracked(url: str, count: int, callers: int) -> Row:
    """Take each snapshot through the ledger as a tracked event with one delay does."""
    ledger = open_ledger(url, lease_seconds=60)
    await ledger.check()
    body = wrap(Message(event(), "application/cloudevents+json"), State(time.time()), event_id="e", keys=KEYS)
    ids = [str(uuid.uuid4()) for _ in range(count)]
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(_tracker(ledger, ids, body) for _ in range(callers)))
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    await ledger.aclose()
    return 1e6 * cpu / count, f"{count / seconds:7.0f} events/s"


async def _tracker(ledger: StoredLedger, ids: list[str], body: bytes) -> None:
    while ids:
        name = ids.pop()
        key = Key(PROJECT, name)
        claim = await ledger.claim(key, "cause")
        assert isinstance(claim, Granted)
        await ledger.created(claim, AcceptedBackup(id=name, name="nightly-db01"))
        await ledger.record_waiting(Waiting(name, body, 30.0, "track", 1, *key), drop_copy=True)
        await ledger.claim(key, "cause")
        done = Finished(CompletedBackup(id=name, status="available", size=4), seconds=3.0)
        await ledger.finished(key, done, backup_id=name, cause="cause")
        await ledger.forget_waiting(name)


async def _recorder(ledger: StoredLedger, ids: list[str], body: bytes) -> None:
    while ids:
        name = ids.pop()
        await ledger.record_waiting(Waiting(name, body, 30.0, "track", 1, PROJECT, name), drop_copy=True)
        await ledger.forget_waiting(name)


async def _caller(ledger: StoredLedger, keys: list[Key], waits: list[float], busy: float) -> None:
    while keys:
        began = time.perf_counter()
        claim = await ledger.claim(keys.pop(), "cause")
        waits.append(1000 * (time.perf_counter() - began))
        assert isinstance(claim, Granted)
        _compute(busy / 2)
        await ledger.created(claim, AcceptedBackup(id=claim.key.snapshot_id, name="nightly-db01"))
        _compute(busy / 2)


def _compute(seconds: float) -> None:
    """Use this much CPU with the interpreter's lock held, as the rest of a worker does."""
    end = time.thread_time() + seconds if seconds else 0.0
    while end and time.thread_time() < end:
        pass


def best(name: str, rounds: int, measure: Callable[[], Coroutine[Any, Any, Row]]) -> None:
    cpu, text = min(asyncio.run(measure()) for _ in range(rounds))
    print(f"{name:<20} {cpu:6.0f} us  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    count, rounds = arguments.events, arguments.rounds
    logging.basicConfig(level=logging.WARNING)
    best("handling", rounds, lambda: handling(count, track=False))
    best("handling, tracked", rounds, lambda: handling(count, track=True))
    best("none, 64 callers", rounds, lambda: promises("none", count, 64, busy=0))
    for callers in (64, 256):
        best(f"sqlite, {callers} callers", rounds, partial(_in_a_file, count, callers, 0.0))
        best(f"sqlite, {callers}, busy", rounds, partial(_in_a_file, count, callers, BUSY_SECONDS))
        best(f"records, {callers} callers", rounds, partial(_records_in_a_file, count, callers))
        best(f"tracked, {callers} callers", rounds, partial(_tracked_in_a_file, count, callers))


async def _in_a_file(count: int, callers: int, busy: float) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        return await promises(f"sqlite:///{folder}/ledger.db", count, callers, busy=busy)


async def _records_in_a_file(count: int, callers: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        return await records(f"sqlite:///{folder}/ledger.db", count, callers)


async def _tracked_in_a_file(count: int, callers: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        return await tracked(f"sqlite:///{folder}/ledger.db", count, callers)


if __name__ == "__main__":
    main()
