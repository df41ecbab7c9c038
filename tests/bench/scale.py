"""Benchmark of what grows: the worker's CPU for an event beside a backlog, projects and a ledger of any size.

Run ``python -m tests.bench.scale``; without ``AMQP_URL`` it starts a private broker. The sizes of one kind
take turns, so that a disturbance affects all of them alike. While events are handled others are published, so
that the backlog keeps its size. ``--folder`` keeps the files of the ledgers: 10,000,000 rows take 5 GB.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from handler import bootstrap
from handler.broker.connection import BrokerConnection
from handler.settings import Settings, load_settings
from infra.local.broker import running_broker
from tests.bench import growth
from tests.bench.rows import cpu_seconds, head
from tests.bench.throughput import HERE, counted, fast_api, preload, remove, send

BACKLOG = 2_000
WARM = 1_000
SECONDS = 900.0


class Size(NamedTuple):
    """What is beside the events that are measured; ``ledger`` is a file, or new."""

    backlog: int = BACKLOG
    projects: int = 1
    ledger: Path | None = None


class Feeder:
    """Keeps the backlog at its size until enough events were handled."""

    def __init__(self, connection: BrokerConnection, settings: Settings, results: str, size: Size) -> None:
        self._connection = connection
        self._settings = settings
        self._results = results
        self._size = size
        self._published = 0

    async def feed_until(self, handled: int) -> None:
        """Publish for each outcome that comes another event, until so many have come."""
        async with asyncio.timeout(SECONDS):
            while (there := await counted(self._connection, self._results)) < handled:
                await self.fill(there)
                await asyncio.sleep(0.02)

    async def fill(self, handled: int = 0) -> None:
        """Bring the backlog to its size."""
        wanted = handled + self._size.backlog
        await send(self._connection, self._settings, range(self._published, wanted), self._size.projects)
        self._published = max(self._published, wanted)


async def measure(size: Size, events: int, endpoint: str) -> float:
    """Return the worker's CPU for an event, in microseconds, after those that warm it."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as data:
        os.environ.update(
            SNAPSHOT_QUEUE=name, SNAPSHOT_EXCHANGE=f"{name}.in", RESULT_EXCHANGE=f"{name}.out",
            VBS_ENDPOINT=endpoint, CONCURRENCY="128", TRACK_BACKUPS="false", LOG_LEVEL="WARNING",
            LEDGER_URL=f"sqlite:///{size.ledger or data + '/ledger.db'}",
        )  # fmt: skip
        settings = load_settings()
        async with await bootstrap.open_connection(settings) as connection:
            await preload(connection, settings, f"{name}.results", 0)
            feeder = Feeder(connection, settings, f"{name}.results", size)
            await feeder.fill()
            command = [sys.executable, "-m", "handler", "worker"]
            with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(HERE)}, cwd=HERE) as worker:
                try:
                    return await _cpu(worker.pid, feeder, connection, f"{name}.results", events)
                finally:
                    worker.send_signal(signal.SIGKILL)
                    await remove(connection, settings, f"{name}.results")


async def _cpu(pid: int, feeder: Feeder, connection: BrokerConnection, results: str, events: int) -> float:
    await feeder.feed_until(WARM)
    first, began = await counted(connection, results), cpu_seconds(pid)
    await feeder.feed_until(first + events)
    last, used = await counted(connection, results), cpu_seconds(pid) - began
    return 1e6 * used / (last - first)


def grow(what: str, sizes: Sequence[tuple[int, Size]], events: int, rounds: int) -> None:
    """Measure all sizes in turn, and print the medians, and how they grow from the first."""
    with fast_api(0.0) as endpoint:
        taken = [[asyncio.run(measure(size, events, endpoint)) for _, size in sizes] for _ in range(rounds)]
    print(f"\n| {what} | CPU of an event | spread | of the smallest |\n|---|---|---|---|")
    for place, (number, _) in enumerate(sizes):
        costs = [each[place] for each in taken]
        ratio = statistics.median(each[place] / each[0] for each in taken)
        print(
            f"| {number:,} | {statistics.median(costs):.0f} µs | {min(costs):.0f} to {max(costs):.0f} "
            f"| {ratio:.2f} |",
            flush=True,
        )


def ledgers(sizes: Sequence[int], folder: Path) -> Sequence[tuple[int, Size]]:
    """Make the files that are missing, none of whose rows is old."""
    paths = [folder / f"scale-{size}.db" for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        asyncio.run(growth.make(path, size, 0))
    return [(size, Size(ledger=path)) for size, path in zip(sizes, paths, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, nargs="*", default=[1_000, 20_000, 200_000])
    parser.add_argument("--projects", type=int, nargs="*", default=[1, 100, 1_025, 10_000])
    parser.add_argument("--ledger", type=int, nargs="*", default=[0, 1_000_000, 10_000_000])
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the ledgers' files are kept")
    given = parser.parse_args(arguments)
    print(head("growth", HERE))
    with running_broker() as broker, tempfile.TemporaryDirectory() as temporary:
        os.environ["AMQP_URL"] = broker.url
        kinds = {
            "backlog": [(size, Size(backlog=size)) for size in given.backlog],
            "projects": [(size, Size(projects=size)) for size in given.projects],
            "rows of the ledger": ledgers(given.ledger, given.folder or Path(temporary)),
        }
        for what, sizes in kinds.items():
            if sizes:
                grow(what, sizes, given.events, given.rounds)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
