"""Benchmark of the worker: events per second, CPU and memory, compared with the bare loop.

Run ``python -m tests.bench.throughput --events 20000``; without ``AMQP_URL`` it starts a private broker.
Each row is one process that handles N preloaded events with an API that answers at once, or after 50 ms.
``metrics`` is the worker scraped each second, ``traces`` with all spans sent by OTLP, ``watched`` with both.
``supervised`` is two worker processes under a supervisor, which share the ledger; its figures are sums.
``base`` is the worker of ``--base FOLDER``, another checkout (``git worktree add --detach FOLDER COMMIT``).
Machines are noisy: trust the ratios to the bare loop, or to the base, of the same round.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pika

from handler import bootstrap
from handler.broker.connection import BrokerConnection
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import SNAPSHOT_COMPLETED, declare
from handler.settings import Settings, load_settings
from infra.local.broker import running_broker
from infra.local.server import free_ports
from tests.bench.rows import (
    Row,
    SystemCalls,
    cpu_seconds,
    family,
    has_ledger,
    head,
    loop_seconds,
    peak_memory,
    print_rows,
)

PROGRAMS = {
    "bare": ("-m", "tests.bench.bare"),
    "lean": ("-m", "tests.bench.bare", "lean"),
    "forgetful": ("-m", "tests.bench.forgetful"),
    "worker": ("-m", "handler", "worker"),
    "supervised": ("-m", "handler", "worker", "--processes", "2"),
    "base": ("-m", "handler", "worker"),
    "metrics": ("-m", "handler", "worker"),
    "traces": ("-m", "handler", "worker"),
    "watched": ("-m", "handler", "worker"),
}
SCRAPED = ("metrics", "watched")
TRACED = ("traces", "watched")
HERE = Path(__file__).parents[2]


def event(project: int = 0) -> bytes:
    """Return a snapshot event of the size of real ones."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "bench",
            "type": SNAPSHOT_COMPLETED,
            "data": {
                "project_id": f"8d2c4b6a1f3e4d5c9b7a60f1{project:08x}",
                "volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
                "snapshot_id": str(uuid.uuid4()),
                "snapshot_name": "nightly-db01",
                "size_gb": 40,
            },
        }
    ).encode()


@contextmanager
def fast_api(latency: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.fast_api", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


async def preload(connection: BrokerConnection, settings: Settings, results: str, count: int) -> None:
    """Declare the topology and a queue for all outcomes, and publish so many events."""
    names = bootstrap.topology(settings)
    await declare(connection, names)
    channel = await connection.channel()
    await channel.call(channel.raw.queue_declare, queue=results, durable=True)
    await channel.call(channel.raw.queue_bind, queue=results, exchange=names.result_exchange, routing_key="#")
    await channel.close()
    await send(connection, settings, range(count))


async def send(connection: BrokerConnection, settings: Settings, numbers: range, projects: int = 1) -> None:
    """Publish an event for each number, of so many projects in turn."""
    names = bootstrap.topology(settings)
    outbox = BrokerOutbox(connection, names, ignore_unroutable=False)
    properties = pika.BasicProperties(delivery_mode=2)
    for start in range(numbers.start, numbers.stop, 500):
        sends = [
            outbox.send(names.snapshot_exchange, SNAPSHOT_COMPLETED, event(number % projects), properties)
            for number in range(start, min(start + 500, numbers.stop))
        ]
        await asyncio.gather(*sends)


async def counted(connection: BrokerConnection, queue: str) -> int:
    channel = await connection.channel()
    frame = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    await channel.close()
    return int(frame.method.message_count)


async def measure(
    program: str, count: int, in_flight: int, endpoint: str, base: Path | None, *, trace: bool
) -> Row:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    folder = base if base and program == "base" else HERE
    with tempfile.TemporaryDirectory() as data:
        environment = {
            "SNAPSHOT_QUEUE": name,
            "SNAPSHOT_EXCHANGE": f"{name}.in",
            "RESULT_EXCHANGE": f"{name}.out",
            "VBS_ENDPOINT": endpoint,
            "CONCURRENCY": str(in_flight),
            "TRACK_BACKUPS": "false",
            "LEDGER_URL": f"sqlite:///{data}/ledger.db",
        }
        os.environ.update(environment)
        settings = load_settings()
        async with await bootstrap.open_connection(settings) as connection:
            await preload(connection, settings, f"{name}.results", count)
            async with watching(program) as extra:
                started = subprocess.Popen(
                    [sys.executable, *PROGRAMS[program]],
                    env={**os.environ, **extra, "PYTHONPATH": str(folder)},
                    cwd=folder,
                )
                with started as process:
                    try:
                        return await _timed(
                            program, connection, process.pid, f"{name}.results", count, trace=trace
                        )
                    finally:
                        for each in family(process.pid):
                            os.kill(each, signal.SIGKILL)
                        await remove(connection, settings, f"{name}.results")


@asynccontextmanager
async def watching(program: str) -> AsyncIterator[dict[str, str]]:
    """Scrape metrics and collect traces if the program's name says so; yield the settings for it."""
    (port,) = free_ports(1)
    collector = await asyncio.start_server(_collect, "127.0.0.1", 0)
    scraper = asyncio.create_task(_scrape(port))
    extra = {"LOG_LEVEL": "WARNING"}
    if program in SCRAPED:
        extra["HTTP_ADDRESS"] = f"127.0.0.1:{port}"
    if program in TRACED:
        sink = collector.sockets[0].getsockname()[1]
        extra["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{sink}"
    async with collector:
        yield extra
        scraper.cancel()


async def _scrape(port: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")
            await reader.read()
            writer.close()
        await asyncio.sleep(1)


async def _collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    writer.close()


async def _timed(
    program: str, connection: BrokerConnection, pid: int, results: str, count: int, *, trace: bool
) -> Row:
    first = await _reached(connection, results, count // 20)
    if program == "supervised":
        while len(family(pid)) < 3 or not all(map(has_ledger, family(pid)[1:])):
            await asyncio.sleep(0.02)
        first = await counted(connection, results)
    calls, pids = SystemCalls(pid) if trace else None, family(pid)
    began, cpu, loop = time.perf_counter(), sum(map(cpu_seconds, pids)), sum(map(loop_seconds, pids))
    last = await _reached(connection, results, count)
    seconds, events = time.perf_counter() - began, last - first
    return Row(
        program,
        events / seconds,
        1e6 * (sum(map(cpu_seconds, pids)) - cpu) / events,
        1e6 * (sum(map(loop_seconds, pids)) - loop) / events,
        sum(map(peak_memory, pids)),
        calls.end() / events if calls else None,
    )


async def _reached(connection: BrokerConnection, queue: str, count: int) -> int:
    deadline = time.monotonic() + 300
    while (there := await counted(connection, queue)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{there} of {count} outcomes after 300 s")
        await asyncio.sleep(0.02)
    return there


async def remove(connection: BrokerConnection, settings: Settings, results: str) -> None:
    names = bootstrap.topology(settings)
    channel = await connection.channel()
    for queue in (results, *(queue.name for queue in names.queues())):
        await channel.call(channel.raw.queue_delete, queue=queue)
    for exchange in names.exchanges():
        await channel.call(channel.raw.exchange_delete, exchange=exchange.name)
    await channel.close()


def compare(
    programs: list[str],
    *,
    count: int,
    rounds: int,
    in_flight: int,
    latency: float,
    base: Path | None,
    trace: bool,
) -> None:
    """Run the programs in turn, so that a disturbance affects a whole round, and print the medians."""
    text = f"{count} events, {in_flight} in flight, API answers after {latency * 1000:g} ms, {rounds} rounds"
    print(f"\n{text}", flush=True)
    with fast_api(latency) as endpoint:

        def run(program: str, *, trace: bool = False) -> Row:
            return asyncio.run(measure(program, count, in_flight, endpoint, base, trace=trace))

        taken = [{program: run(program) for program in programs} for _ in range(rounds)]
        traced = {program: run(program, trace=True) for program in programs} if trace else {}
    print_rows(taken, traced)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.05])
    parser.add_argument("--programs", nargs="*")
    parser.add_argument("--base", type=Path, help="another checkout, whose worker is the program base")
    parser.add_argument("--system-calls", action="store_true", help="count them in one more run, by strace")
    arguments = parser.parse_args()
    base = arguments.base.resolve() if arguments.base else None
    programs = ["bare", "base", "worker"] if base else ["bare", "lean", "forgetful", "worker"]
    print("; ".join([head("worker", HERE), *([head("base", base)] if base else [])]))
    with running_broker() as broker:
        os.environ["AMQP_URL"] = broker.url
        for in_flight, latency in zip(arguments.in_flight, arguments.latency, strict=True):
            compare(
                arguments.programs or programs,
                count=arguments.events,
                rounds=arguments.rounds,
                in_flight=in_flight,
                latency=latency,
                base=base,
                trace=arguments.system_calls,
            )


if __name__ == "__main__":
    main()
