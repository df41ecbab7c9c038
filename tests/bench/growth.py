"""Benchmark of a large SQLite ledger: what a claim costs in it, and how long it waits beside a prune.

``python -m tests.bench.growth`` makes a file for each size once, in ``--folder``, and keeps it there if that
is given: 10,000,000 rows take 5 GB. It prints microseconds of CPU of the ledger's thread for each claim and
created, the median of rounds that take turns between the sizes, and then how long claims wait with and
without a prune of the largest.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key
from handler.ledger.ledger import StoredLedger
from handler.ledger.sqlite import SqliteLedger
from tests.bench.rows import head

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
DAY = 86_400.0
OLDER_THAN = 90 * DAY
CHUNK = 500_000
CALLERS = 64

# Snapshots are spread over all ids, so that a claim of a new one hits a page by chance.
_FILL = """
WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :last)
INSERT INTO ledger SELECT :project, printf('%08x-0000-4000-8000-%012x', n * 4294967295 / :rows, n),
    'completed', NULL, 0, CASE WHEN n < :old THEN :before ELSE :now END + n * 0.01, 1,
    printf('{"backup":{"id":"%032x","name":"nightly-db01"},"made_at":%.3f,"end":{"backup":{"id":"%032x",'
        || '"status":"available","size":4},"seconds":3.0}}', n, :now, n),
    printf('%.3f' || char(9) || 'accepted' || char(9) || '%.3f' || char(10), :now, :now)
FROM numbers
"""


class Waits(NamedTuple):
    """How long claims waited, in milliseconds, and for how many seconds they were made."""

    median: float
    p99: float
    most: float
    claims: int
    seconds: float


async def make(path: Path, rows: int, old: int) -> None:
    """Make a ledger of so many rows, of which so many are old enough for a prune."""
    if path.exists():
        return
    ledger = SqliteLedger(path)
    await ledger.check()
    await ledger.aclose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Without a WAL, and with a large cache: else it takes ten times as long.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        now = time.time() - 10 * DAY
        common = {
            "project": PROJECT,
            "rows": max(rows, 1),
            "old": old,
            "now": now,
            "before": now - OLDER_THAN,
        }
        for first in range(0, rows, CHUNK):
            connection.execute(_FILL, {**common, "first": first, "last": min(first + CHUNK, rows)})
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


async def cost(path: Path, events: int) -> float:
    """Return microseconds of CPU of the ledger's thread for each claim and created, in groups of 64."""
    ledger = SqliteLedger(path, lease_seconds=600)
    await ledger.check()
    thread = ledger._store._thread  # type: ignore[attr-defined]
    clock = time.pthread_getcpuclockid(thread.ident)
    began = time.clock_gettime(clock)
    for _ in range(events // CALLERS):
        await asyncio.gather(*(_event(ledger) for _ in range(CALLERS)))
    used = time.clock_gettime(clock) - began
    await ledger.aclose()
    return 1e6 * used / (events // CALLERS * CALLERS)


async def _event(ledger: StoredLedger) -> float:
    began = time.perf_counter()
    claim = await ledger.claim(Key(PROJECT, str(uuid.uuid4())), "event")
    waited = time.perf_counter() - began
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id=claim.key.snapshot_id, name="nightly-db01"))
    return waited


async def waits(ledger: StoredLedger, callers: int, ended: "asyncio.Future[Any]") -> Waits:
    """Make claims, one after the other for each caller, until something has ended."""
    found: list[float] = []

    async def caller() -> None:
        while not ended.done():
            found.append(1000 * await _event(ledger))

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    found.sort()
    seconds = time.perf_counter() - began
    return Waits(statistics.median(found), found[len(found) * 99 // 100], found[-1], len(found), seconds)


async def beside_a_prune(path: Path, callers: int, seconds: float) -> tuple[Waits, Waits, int]:
    """Return the waits of claims without and with a prune, and how many rows that has deleted."""
    ledger = SqliteLedger(path, lease_seconds=600)
    await ledger.check()
    quiet = await waits(ledger, callers, asyncio.ensure_future(asyncio.sleep(seconds)))
    prune = asyncio.create_task(ledger.prune(OLDER_THAN))
    busy = await waits(ledger, callers, prune)
    await ledger.aclose()
    return quiet, busy, prune.result()


def print_costs(costs: Sequence[Sequence[float]], sizes: Sequence[int]) -> None:
    """Print the medians of each size, and of the ratios to the first size within each round."""
    print(f"{'rows':>12} {'CPU us':>8} {'of the first':>12}")
    for number, size in enumerate(sizes):
        median = statistics.median(each[number] for each in costs)
        ratio = statistics.median(each[number] / each[0] for each in costs)
        print(f"{size:>12,} {median:>8.0f} {ratio:>12.2f}", flush=True)


def print_waits(name: str, found: Waits) -> None:
    """Print one line of waits."""
    print(
        f"{name:<16} median {found.median:7.1f} ms, p99 {found.p99:7.1f} ms, most {found.most:7.1f} ms, "
        f"{found.claims} claims in {found.seconds:.1f} s",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1_000_000, 10_000_000])
    parser.add_argument("--old", type=int, default=111_559, help="rows of the largest that a prune deletes")
    parser.add_argument("--events", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--callers", type=int, default=16, help="callers beside the prune")
    parser.add_argument("--seconds", type=float, default=5.0, help="of claims without a prune")
    parser.add_argument("--folder", type=Path, help="where the files are kept")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        paths = [folder / f"growth-{size}.db" for size in given.sizes]
        for path, size in zip(paths, given.sizes, strict=True):
            asyncio.run(make(path, size, min(size, given.old)))
        print(head("growth", Path(__file__).parent))
        costs = [[asyncio.run(cost(path, given.events)) for path in paths] for _ in range(given.rounds)]
        print_costs(costs, given.sizes)
        quiet, busy, deleted = asyncio.run(beside_a_prune(paths[-1], given.callers, given.seconds))
        print_waits("without a prune", quiet)
        print_waits("beside a prune", busy)
        print(f"{deleted:,} rows pruned")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
