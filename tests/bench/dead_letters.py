"""Benchmark of the commands for dead letters: a list, a filtered replay and a replay of all.

Run it as ``python -m tests.bench.dead_letters --messages 100000 --share 0.1``; without ``AMQP_URL`` it starts
a private broker. It measures whole commands, scan included. ``--small`` is a second run with fewer messages,
since memory must not grow with the queue. ``of bare`` compares the filtered replay with the upper bound,
``tests.bench.bare_replay``, in the same run. Machines are noisy: trust that ratio. Afterwards the messages
that were not selected must be unchanged: bodies, headers and order are compared.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.topology import Topology, declare
from infra.local.broker import running_broker
from tests.bench.rows import cpu_seconds, peak_memory
from tests.integration.dead_letters.place import Place, Raw, dead_headers, event

CHOSEN, OTHER = "quota", "denied"
BATCH = 5_000
COUNTS = ("x-delivery-count", "x-acquired-count")
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """The wall-clock time and CPU time of a command in seconds, and its peak memory in MB."""

    seconds: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Row:
    """The measurements with this number of messages, and this number of selected ones."""

    messages: int
    selected: int
    listed: Run
    filtered: Run
    bare: Run
    everything: Run
    rest_unchanged: bool


def dead_letter(number: int, every: int) -> Raw:
    """Return the numbered dead letter; one in ``every`` is selected."""
    return event(number), dead_headers(number, OTHER if number % every else CHOSEN)


@contextmanager
def place(url: str, *, quorum: bool, folder: Path) -> Iterator[Place]:
    """Declare a topology with a unique name, and delete it at the end."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    names = Topology(name, f"{name}.in", f"{name}.out", (1, 2), quorum)
    asyncio.run(declared(url, names))
    found = Place(url, names, folder)
    try:
        yield found
    finally:
        with found.channel() as channel:
            for queue in names.queues():
                channel.queue_delete(queue.name)
            for exchange in names.exchanges():
                channel.exchange_delete(exchange.name)


async def declared(url: str, names: Topology) -> None:
    async with await connect([url], Tls()) as connection:
        await declare(connection, names)


def fill(place: Place, messages: int, every: int) -> None:
    """Purge both queues, and publish the dead letters."""
    with place.channel() as channel:
        channel.queue_purge(place.topology.dead)
        channel.queue_purge(place.topology.queue)
    for start in range(0, messages, BATCH):
        place.dead_letter(
            [dead_letter(number, every) for number in range(start, min(start + BATCH, messages))]
        )


def run(place: Place, *command: str) -> Run:
    """Run a command that must succeed, and return its measurements."""
    environment = {key: value for key, value in place.environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began, cpu, memory = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(
        [sys.executable, "-m", *command], env=environment, cwd=place.folder, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            with suppress(OSError, StopIteration):  # it has just ended
                cpu, memory = cpu_seconds(process.pid), peak_memory(process.pid)
            time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return Run(time.perf_counter() - began, cpu, memory)


def unchanged(place: Place, messages: int, every: int) -> bool:
    """Consume both queues; return whether only selected messages were moved and the others are unchanged."""
    left = (dead_letter(number, every) for number in range(messages) if number % every)
    same = all(found == expected for found, expected in zip_longest(taken(place, place.topology.dead), left))
    sent = [json.loads(body)["id"] for body, _ in taken(place, place.topology.queue)]
    return same and [f"event-{number}" for number in range(0, messages, every)] == sent


def taken(place: Place, queue: str) -> Iterator[Raw]:
    """Consume all messages of a queue; yield bodies and headers without the broker's delivery counts."""
    with place.channel() as channel:
        channel.basic_qos(prefetch_count=BATCH)
        for method, properties, body in channel.consume(queue, inactivity_timeout=1.0):
            if method is None or properties is None or body is None:
                return
            headers = properties.headers or {}
            yield body, {key: value for key, value in headers.items() if key not in COUNTS}
            channel.basic_ack(method.delivery_tag)


def measure(place: Place, messages: int, every: int) -> Row:
    dead_letters, replay = ("handler", "dead-letters"), ("replay", "--yes", "--category", CHOSEN)
    selected = len(range(0, messages, every))
    fill(place, messages, every)
    listed = run(place, *dead_letters, "list")
    filtered = run(place, *dead_letters, *replay)
    rest_unchanged = unchanged(place, messages, every)
    fill(place, messages, every)
    run(place, *dead_letters, "list")  # messages that were read before take the broker longer
    bare = run(place, "tests.bench.bare_replay", str(messages), CHOSEN)
    fill(place, messages, every)
    everything = run(place, *dead_letters, "replay", "--yes")
    return Row(messages, selected, listed, filtered, bare, everything, rest_unchanged)


def report(rows: list[Row]) -> None:
    print(f"{'':>10} {'list':>12} {'filtered replay':>41} {'replay of all':>14}")
    print(
        f"{'messages':>10} {'s':>6} {'MB':>5} {'s':>6} {'CPU s':>6} {'moved/s':>8} {'MB':>5} {'of bare':>8}"
        f" {'rest':>9} {'moved/s':>8} {'MB':>5}"
    )
    for row in rows:
        print(
            f"{row.messages:>10,} {row.listed.seconds:>6.1f} {row.listed.memory:>5.0f}"
            f" {row.filtered.seconds:>6.1f} {row.filtered.cpu:>6.1f}"
            f" {row.selected / row.filtered.seconds:>8,.0f} {row.filtered.memory:>5.0f}"
            f" {row.bare.seconds / row.filtered.seconds:>8.2f}"
            f" {'unchanged' if row.rest_unchanged else 'CHANGED':>9}"
            f" {row.messages / row.everything.seconds:>8,.0f} {row.everything.memory:>5.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.1, help="of those that a filter chooses")
    parser.add_argument("--queue-type", choices=["quorum", "classic"], default="quorum")
    arguments = parser.parse_args()
    every = round(1 / arguments.share)
    with running_broker(os.environ.get("AMQP_URL")) as broker, tempfile.TemporaryDirectory() as folder:
        with place(broker.url, quorum=arguments.queue_type == "quorum", folder=Path(folder)) as found:
            run(found, "handler", "dead-letters", "list")  # so that everything is compiled
            rows = [measure(found, number, every) for number in (arguments.small, arguments.messages)]
        print(f"{broker.version}, {arguments.queue_type} queues, one in {every} chosen")
        report(rows)
    if not all(row.rest_unchanged for row in rows):
        raise SystemExit("the rest is not where it was")


if __name__ == "__main__":
    main()
