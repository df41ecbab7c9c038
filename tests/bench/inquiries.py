"""Benchmark of the operator's inquiries on a ledger with many rows.

``python -m tests.bench.inquiries`` fills a SQLite file and a private PostgreSQL server with 1,000,000 rows
of 200 projects over 90 days, 5,000 waiting messages and two days of sums. It prints how long each inquiry
takes: first of the ledger, then as a console answers it over HTTP, with a private broker and its memory.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import httpx
import psycopg

from handler.backup.ports import Key
from handler.console.queues import FRESH_SECONDS
from handler.ledger.inquiry import StateFilter, WaitingFilter
from handler.ledger.ledger import StoredLedger
from handler.ledger.search import Slice
from handler.ledger.stores import open_ledger
from infra.local.broker import running_broker
from infra.local.server import free_ports
from tests import postgres
from tests.bench.rows import cpu_seconds, peak_memory

PROJECTS = 200
WAITING = 5000
DAY = 86_400.0

Records = Sequence[tuple[Any, ...]]


def ledger_rows(count: int, now: float, chance: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield rows: of a thousand 40 failed, 5 accepted, 1 in doubt, and the others completed."""
    for number in range(count):
        at = now - chance.random() * 90 * DAY
        key = (f"{chance.randrange(PROJECTS):032x}", str(uuid.UUID(int=chance.getrandbits(128))))
        journal = (
            f"{at - 60:.3f}\taccepted\t{at - 61:.3f}\t\t\t{key[1]}\n{at:.3f}\tcompleted\t\t\t\t{key[1]}\n"
        )
        made = f'"backup":{{"id":"{key[1]}","name":"nightly"}},"made_at":{at - 60}'
        end = f'"end":{{"backup":{{"id":"{key[1]}","status":"available","size":4}},"seconds":60.0}}'
        failure = (
            f'"failure":{{"category":"{chance.choice(["quota", "invalid", "refused"])}","message":"no"}}'
        )
        state, settled, rest = "completed", 1, f"{{{made},{end}}}"
        if (kind := number % 1000) < 40:
            state, rest = "open", f'{{"failures":{{"e-{number}":{{{failure},"attempts":1}}}}}}'
        elif kind < 45:
            state, settled, rest = "made", 0, f"{{{made}}}"
        elif kind < 46:
            state, settled, rest = "open", 0, f'{{"doubt":{{"since":{at},"looks":1,"look_after":{at}}}}}'
        yield (*key, state, None, 0.0, at, settled, rest, journal)


def waiting_rows(rows: Records, now: float, chance: random.Random) -> Records:
    """Return records of waiting messages about some of the snapshots."""
    about = enumerate(chance.sample(rows, min(WAITING, len(rows))))
    reasons = itertools.cycle(["track", "retry", "pause"])
    due = now + 30
    return [
        (str(number), *row[:2], next(reasons), 1, now, due, due, 0, b"x" * 1500, "") for number, row in about
    ]


def sum_rows(now: float) -> Records:
    """Return the sums of 48 hours."""
    kinds = (("accepted", ""), ("completed", ""), ("failed", "quota"))
    return [
        (int(now // 3600) - hour, f"{project:032x}", *kind, 10)
        for hour in range(48)
        for project in range(PROJECTS)
        for kind in kinds
    ]


async def timed(name: str, call: Callable[[], Awaitable[object]], rounds: int) -> None:
    """Print how long a call takes; one that returns a float has measured itself, in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        took = await call()
        times.append(1000 * (took if isinstance(took, float) else time.perf_counter() - began))
    print(f"  {name:<44} {statistics.median(times):8.1f} ms, at most {max(times):8.1f} ms", flush=True)


async def measure(url: str, keys: Sequence[Key], rounds: int) -> None:
    ledger, yesterday = open_ledger(url, lease_seconds=60), time.time() - DAY
    some = itertools.cycle(keys)
    newest = StateFilter(["completed"], 100, oldest_first=False)
    newest_id = (await ledger.list_states(newest)).records[0].key.snapshot_id
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "overview of 24 hours": lambda: ledger.overview(yesterday),
        "a snapshot, in any project": lambda: ledger.snapshots(next(some).snapshot_id),
        "a snapshot of a project": lambda: _find(ledger, next(some)),
        "a search of a new backup, for a second": lambda: ledger.search(Slice(newest_id), seconds=1.0),
        "a search of any backup, to its end": lambda: ledger.search(
            Slice(next(some).snapshot_id), seconds=60.0
        ),
        "a search of nothing, for a second": lambda: ledger.search(Slice("nothing"), seconds=1.0),
        "a search of nothing, to its end": lambda: ledger.search(Slice("nothing"), seconds=60.0),
        "the newest 100 completed": lambda: ledger.list_states(newest),
        "the newest 100 completed of a project": lambda: ledger.list_states(
            newest._replace(project_id=keys[0].project_id)
        ),
        "the completed of an unknown project": lambda: ledger.list_states(
            newest._replace(project_id="unknown")
        ),
        "the oldest 100 in doubt": lambda: ledger.list_states(StateFilter(["in doubt"], 100)),
        "the oldest 100 of a category": lambda: ledger.list_states(
            StateFilter(["failed"], 100, category="quota")
        ),
        "100 waiting messages": lambda: ledger.list_waiting(WaitingFilter(100)),
        "report of 24 hours, by project": lambda: ledger.report(yesterday, by="project"),
        "report of 24 hours, by hour": lambda: ledger.report(yesterday, by="hour"),
        "report of 90 days, by project": lambda: ledger.report(0.0, by="project"),
    }
    for name, call in calls.items():
        await timed(name, call, rounds)
    await ledger.aclose()


async def measure_http(url: str, broker: str, keys: Sequence[Key], rounds: int) -> None:
    """Ask a console that is a process of its own. Each overview comes when its counts are no longer fresh."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    settings = {"LEDGER_URL": url, "AMQP_URL": broker, "CONSOLE_ADDRESS": address}
    command = [sys.executable, "-m", "handler", "console"]
    some = itertools.cycle(keys)

    console = subprocess.Popen(command, env={**os.environ, **settings})
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=60) as client:

            async def get(path: str) -> None:
                answer = await client.get(path)
                assert not answer.is_error, answer.text

            async def overview(path: str) -> float:
                await asyncio.sleep(FRESH_SECONDS)
                began = time.perf_counter()
                await get(path)
                return time.perf_counter() - began

            async def snapshot(path: str) -> None:
                await get(f"{path}{next(some).snapshot_id}")

            while True:
                assert console.poll() is None, "the console has ended"
                with contextlib.suppress(httpx.TransportError):
                    await get("/sign-in")
                    break
                await asyncio.sleep(0.1)
            calls: list[tuple[str, Callable[[], Awaitable[object]]]] = []
            calls += [(path, partial(overview, path)) for path in ("/", "/api/overview")]
            calls += [
                (f"{path}ID", partial(snapshot, path)) for path in ("/snapshots?id=", "/api/snapshots/")
            ]
            lists = ("/waiting", "/waiting?reason=track", "/report?by=project")
            calls += [(path, partial(get, path)) for path in lists]
            for name, call in calls:
                before = cpu_seconds(console.pid)
                await timed(f"GET {name}", call, rounds)
                used = 1000 * (cpu_seconds(console.pid) - before) / rounds
                print(f"    of which CPU of the console {used:31.1f} ms", flush=True)
        print(f"  the console has held {peak_memory(console.pid):.0f} MB at most", flush=True)
    finally:
        console.terminate()
        console.wait()


def _find(ledger: StoredLedger, key: Key) -> Awaitable[object]:
    return ledger.snapshots(key.snapshot_id, key.project_id)


async def prepare(url: str) -> None:
    ledger = open_ledger(url, lease_seconds=60)
    await ledger.check()
    await ledger.aclose()


def in_sqlite(rows: Records, waiting: Records, sums: Records, measured: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/ledger.db"
        asyncio.run(prepare(f"sqlite:///{path}"))
        connection = sqlite3.connect(path)
        with connection:
            for table, found in (("ledger", rows), ("ledger_waiting", waiting), ("ledger_sums", sums)):
                marks = ", ".join("?" * len(found[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", found)
        connection.close()
        print("SQLite")
        measured(f"sqlite:///{path}")


def in_postgres(rows: Records, waiting: Records, sums: Records, measured: Callable[[str], None]) -> None:
    with postgres.server() as server:
        url = server.create("inquiries")
        asyncio.run(prepare(url))
        with psycopg.connect(url, autocommit=True) as connection:
            by_writer = [(*each[:4], 0, each[4]) for each in sums]
            for table, found in (("ledger", rows), ("waiting", waiting), ("sums", by_writer)):
                with connection.cursor().copy(f"COPY snapshot_backup_{table} FROM STDIN".encode()) as copy:
                    for row in found:
                        copy.write_row(row)
            connection.execute("VACUUM ANALYZE")
        print("PostgreSQL")
        measured(url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    now, chance = time.time(), random.Random(arguments.seed)
    rows = list(ledger_rows(arguments.rows, now, chance))
    keys = [Key(*row[:2]) for row in chance.sample(rows, 100)]
    waiting, sums = waiting_rows(rows, now, chance), sum_rows(now)
    with running_broker(os.environ.get("AMQP_URL")) as broker:
        for fill in (in_sqlite, in_postgres):
            fill(rows, waiting, sums, partial(_run, keys, arguments.rounds, broker.url))


def _run(keys: Sequence[Key], rounds: int, broker: str, url: str) -> None:
    asyncio.run(measure(url, keys, rounds))
    asyncio.run(measure_http(url, broker, keys, rounds))


if __name__ == "__main__":
    main()
