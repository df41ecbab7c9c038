"""Benchmark of events that come alone: latency beside the API's time, and CPU of each event.

Run ``python -m tests.bench.alone --base FOLDER``; without ``AMQP_URL`` it starts a private broker. Events are
published at a fixed rate, so slowly that hardly two are in hand at once. ``above`` is the time from the
publish of an event to the delivery of its outcome, less the API's latency; the broker's part of it is in the
row of ``bare``. ``TMPDIR=/dev/shm`` puts broker and ledger there, ``--ledger FOLDER`` the ledger alone.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pika

from handler import bootstrap
from handler.broker.connection import BrokerConnection
from handler.broker.publisher import Publisher
from handler.broker.topology import SNAPSHOT_COMPLETED
from handler.settings import Settings, load_settings
from infra.local.broker import running_broker
from tests.bench.rows import cpu_seconds, head
from tests.bench.throughput import HERE, PROGRAMS, event, fast_api, preload, remove

_WARM_UP = 100
"""Events before those that count: the first ones make connections and fill caches."""
_LAST_SECONDS = 30.0


class Row(NamedTuple):
    """One run: CPU in microseconds for each event, and latencies above the API's in milliseconds."""

    cpu: float
    median: float
    p99: float


class Outcomes:
    """Collects the outcomes of one queue, each with the time of its delivery."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._published: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def consume(self, connection: BrokerConnection, queue: str) -> None:
        channel = await connection.channel()
        await channel.call(
            channel.raw.basic_consume, queue=queue, on_message_callback=self._deliver, auto_ack=True
        )

    def published(self, event: bytes) -> None:
        """Record when an event is published."""
        self._published[json.loads(event)["data"]["snapshot_id"]] = time.perf_counter()

    def _deliver(self, _raw: object, _method: object, _properties: object, body: bytes) -> None:
        now, outcome = time.perf_counter(), json.loads(body)
        # The bare loop publishes the API's answer, which does not name the event: it is the oldest.
        name = outcome["data"]["snapshot_id"] if "data" in outcome else next(iter(self._published))
        self.seconds.append(now - self._published.pop(name))
        self._changed.set()

    async def reached(self, count: int) -> None:
        """Wait until so many outcomes have come."""
        async with asyncio.timeout(_LAST_SECONDS):
            while len(self.seconds) < count:
                self._changed.clear()
                await self._changed.wait()


async def publish(
    connection: BrokerConnection, settings: Settings, outcomes: Outcomes, *, count: int, rate: float
) -> None:
    """Publish events at a fixed rate, and wait for their outcomes."""
    publisher = await Publisher.open(await connection.channel())
    properties = pika.BasicProperties(delivery_mode=2)
    exchange = bootstrap.topology(settings).snapshot_exchange
    loop, sends = asyncio.get_running_loop(), []
    target, began = len(outcomes.seconds) + count, loop.time()
    for number in range(count):
        await asyncio.sleep(began + number / rate - loop.time())
        body = event()
        outcomes.published(body)
        sends.append(asyncio.create_task(publisher.publish(exchange, SNAPSHOT_COMPLETED, body, properties)))
    await asyncio.gather(*sends)
    await outcomes.reached(target)


async def measure(
    program: str, endpoint: str, folder: Path, arguments: argparse.Namespace
) -> dict[float, Row]:
    """Run one program at each rate."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(dir=arguments.ledger) as data:
        os.environ |= {
            "SNAPSHOT_QUEUE": name,
            "SNAPSHOT_EXCHANGE": f"{name}.in",
            "RESULT_EXCHANGE": f"{name}.out",
            "VBS_ENDPOINT": endpoint,
            "TRACK_BACKUPS": "false",
            "LEDGER_URL": f"sqlite:///{data}/ledger.db",
            "LOG_LEVEL": "WARNING",
        }
        settings = load_settings()
        async with await bootstrap.open_connection(settings) as connection:
            await preload(connection, settings, f"{name}.results", 0)
            environment = {**os.environ, "PYTHONPATH": str(folder)}
            command = [sys.executable, *PROGRAMS[program]]
            with subprocess.Popen(command, env=environment, cwd=folder) as process:
                try:
                    return await _rates(connection, settings, process.pid, f"{name}.results", arguments)
                finally:
                    process.kill()
                    await remove(connection, settings, f"{name}.results")


async def _rates(
    connection: BrokerConnection, settings: Settings, pid: int, results: str, arguments: argparse.Namespace
) -> dict[float, Row]:
    outcomes = Outcomes()
    await outcomes.consume(connection, results)
    await publish(connection, settings, outcomes, count=_WARM_UP, rate=100)
    rows = {}
    for rate in arguments.rates:
        outcomes.seconds.clear()
        cpu = cpu_seconds(pid)
        await publish(connection, settings, outcomes, count=arguments.events, rate=rate)
        cpu = cpu_seconds(pid) - cpu
        above = sorted(1000 * (seconds - arguments.latency) for seconds in outcomes.seconds)
        rows[rate] = Row(1e6 * cpu / len(above), statistics.median(above), above[int(0.99 * len(above))])
    return rows


def show(rounds: Sequence[Mapping[str, Mapping[float, Row]]], rates: Sequence[float]) -> None:
    """Print the medians of all rounds, with the least and the most."""
    print(f"{'program':<10} {'events/s':>8} {'CPU us':>18} {'median above, ms':>20} {'p99 above, ms':>20}")
    for rate in rates:
        for program in rounds[0]:
            rows = [each[program][rate] for each in rounds]
            columns = [_spread([row[column] for row in rows], column) for column in range(3)]
            print(f"{program:<10} {rate:>8g} {columns[0]:>18} {columns[1]:>20} {columns[2]:>20}", flush=True)


def _spread(values: Sequence[float], column: int) -> str:
    digits = 1 if column else 0
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1000, help="for each rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="*", default=[100.0, 200.0])
    parser.add_argument("--latency", type=float, default=0.02)
    parser.add_argument("--programs", nargs="*")
    parser.add_argument("--base", type=Path, help="another checkout, whose worker is the program base")
    parser.add_argument("--ledger", type=Path, help="the folder for the ledger")
    arguments = parser.parse_args()
    base = arguments.base.resolve() if arguments.base else None
    programs = arguments.programs or (["bare", "base", "worker"] if base else ["bare", "worker"])
    print("; ".join([head("worker", HERE), *([head("base", base)] if base else [])]))
    print(f"{arguments.events} events, API answers after {arguments.latency * 1000:g} ms", flush=True)
    with running_broker() as broker, fast_api(arguments.latency) as endpoint:
        os.environ["AMQP_URL"] = broker.url

        def run(program: str) -> dict[float, Row]:
            folder = base if base and program == "base" else HERE
            return asyncio.run(measure(program, endpoint, folder, arguments))

        rounds = [{program: run(program) for program in programs} for _ in range(arguments.rounds)]
    show(rounds, arguments.rates)


if __name__ == "__main__":
    main()
