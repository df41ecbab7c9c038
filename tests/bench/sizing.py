"""Benchmark of several workers on one PostgreSQL ledger: where the CPU of an event is spent, and by whom.

Run ``python -m tests.bench.sizing --events 6000``; it starts a private broker and a private PostgreSQL. Where
the machine has fewer cores than there are processes, events per second say little: trust CPU per event.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from handler import bootstrap
from handler.broker.connection import BrokerConnection
from handler.settings import load_settings
from infra.emulator.testing import running_emulator
from infra.local.server import running_server
from tests import postgres
from tests.bench.rows import cpu_seconds
from tests.bench.throughput import _reached, counted, fast_api, preload, remove
from tests.postgres import Server


class Row(NamedTuple):
    """One run: events per second; CPU in ms for each event: workers, PostgreSQL, broker; workers' shares.

    ``stored`` is what the ledger keeps of an event, in bytes with indexes.
    """

    rate: float
    workers: float
    database: float
    broker: float
    shares: Sequence[float]
    stored: float


def children(pid: int) -> list[int]:
    """Return a process and its children."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--pid", str(pid), "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line) for line in listed.stdout.split()]


def cpu(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes that still run."""
    total = 0.0
    for pid in pids:
        try:
            total += cpu_seconds(pid)
        except FileNotFoundError:
            continue
    return total


async def measure(
    workers: int, events: int, endpoint: str, database: Server, broker: int, *, tracked: bool
) -> Row:
    """Let workers handle events; a tracked one comes back once from a wait queue."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    os.environ.update(
        {
            "SNAPSHOT_QUEUE": name,
            "SNAPSHOT_EXCHANGE": f"{name}.in",
            "RESULT_EXCHANGE": f"{name}.out",
            "VBS_ENDPOINT": endpoint,
            "TRACK_BACKUPS": str(tracked).lower(),
            "WAIT_LADDER": "2",
            "VBS_AUTH": "none",
            "LEDGER_URL": database.emptied("bench"),
            "LOG_LEVEL": "WARNING",
        }
    )
    settings = load_settings()
    results = f"{name}.results"
    async with await bootstrap.open_connection(settings) as connection:
        await preload(connection, settings, results, events)
        started = [subprocess.Popen([sys.executable, "-m", "handler", "worker"]) for _ in range(workers)]
        try:
            pids = [each.pid for each in started]
            return await _timed(connection, pids, results, 1 + tracked, events, database, broker)
        finally:
            for each in started:
                each.kill()
                each.wait()
            await remove(connection, settings, results)


async def _timed(
    connection: BrokerConnection,
    workers: Sequence[int],
    results: str,
    outcomes: int,
    events: int,
    database: Server,
    broker: int,
) -> Row:
    """Measure from when every worker takes part until nearly all have ended; ``outcomes`` of each event."""
    events *= outcomes
    first = await _reached(connection, results, events // 5)
    servers = children(database.pid)
    began, before = time.perf_counter(), [cpu([pid]) for pid in workers]
    database_before, broker_before = cpu(servers), cpu([broker])
    while await counted(connection, results) < events * 95 // 100:
        await asyncio.sleep(0.1)
    last = await counted(connection, results)
    seconds = time.perf_counter() - began
    used = [cpu([pid]) - one for pid, one in zip(workers, before, strict=True)]
    handled = (last - first) / outcomes
    per_event = 1000 / handled
    return Row(
        handled / seconds,
        sum(used) * per_event,
        (cpu(servers) - database_before) * per_event,
        (cpu([broker]) - broker_before) * per_event,
        [each / sum(used) for each in used],
        ledger_bytes(database) * outcomes / last,
    )


def ledger_bytes(database: Server) -> int:
    """Return the size of the ledger's table with its indexes."""
    with psycopg.connect(database.url("bench"), autocommit=True) as connection:
        connection.execute("VACUUM FULL snapshot_backup_ledger")
        found = connection.execute("SELECT pg_total_relation_size('snapshot_backup_ledger')").fetchone()
    assert found is not None
    return int(found[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=6_000)
    parser.add_argument("--tracked", action="store_true", help="follow each backup to its end, by one wait")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    arguments = parser.parse_args()
    with ExitStack() as stack:
        broker = stack.enter_context(running_server())
        database = stack.enter_context(postgres.server())
        if arguments.tracked:
            endpoint = stack.enter_context(running_emulator(process=True, settle=1.5)).url
        else:
            endpoint = stack.enter_context(fast_api(0.0))
        os.environ["AMQP_URL"] = broker.url
        print("workers  events/s  CPU ms/event: workers  PostgreSQL  RabbitMQ  bytes   shares of the workers")
        for workers in arguments.workers:
            run = measure(
                workers, arguments.events, endpoint, database, broker.pid, tracked=arguments.tracked
            )
            row = asyncio.run(run)
            shares = ", ".join(f"{share:.0%}" for share in row.shares)
            print(
                f"{workers:>7} {row.rate:>9.0f} {row.workers:>22.2f} {row.database:>11.2f} {row.broker:>9.2f}"
                f" {row.stored:>6.0f}   {shares}",
                flush=True,
            )


if __name__ == "__main__":
    main()
