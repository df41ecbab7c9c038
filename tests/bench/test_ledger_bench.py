"""Benchmark of the ledger: ``claim`` and ``created`` per second by concurrent callers. It asserts no time."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from handler.telemetry.counters import LedgerCounters
from tests import postgres

pytestmark = pytest.mark.bench

SECONDS = 3.0


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """Return the URL of an empty database."""
    with postgres.server() as running:
        yield running.create("bench")


async def _caller(ledger: StoredLedger, name: int, until: float) -> int:
    done = 0
    while time.monotonic() < until:
        claim = await ledger.claim(Key(f"project-{name}", f"snapshot-{done}"), "cause")
        assert isinstance(claim, Granted)
        await ledger.created(claim, AcceptedBackup(id="b1", name="name"))
        done += 1
    return done


async def _measure(url: str, callers: int) -> str:
    counters = LedgerCounters()
    ledger = open_ledger(url, lease_seconds=60, notify=counters.count)
    await ledger.check()
    began, cpu, before = time.monotonic(), time.process_time(), counters.commits
    counts = await asyncio.gather(
        *(_caller(ledger, callers * 1000 + n, began + SECONDS) for n in range(callers))
    )
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    events, commits = sum(counts), counters.commits - before
    await ledger.aclose()
    per_commit, per_event = 2 * events / commits, 1000 * cpu / events
    return f"{events / seconds:8.0f} events/s, {per_commit:5.1f} changes/commit, {per_event:.3f} ms CPU/event"


@pytest.mark.parametrize("callers", [1, 8, 64])
@pytest.mark.parametrize("kind", ["none", "sqlite", "postgres"])
def test_claim_and_created(kind: str, callers: int, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The benchmark makes two changes of the ledger for each event: ``claim`` and ``created``."""
    urls = {"none": "none", "sqlite": f"sqlite:///{tmp_path / 'bench.db'}"}
    url = urls.get(kind) or request.getfixturevalue("postgres_url")
    print(f"\n{kind:9} {callers:3} callers: {asyncio.run(_measure(url, callers))}")
