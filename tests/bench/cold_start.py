"""Benchmark of the function's cold start, compared with importing pika, pydantic and httpx alone.

Run it as ``python -m tests.bench.cold_start``; without ``AMQP_URL`` it starts a private broker. It does not
use the extras that the function's bundle leaves out. ``--bundle function.zip --python python3.12`` runs a
bundle instead, with and without its bytecode.

Each measurement is a process of its own. The kinds take turns, so that a disturbance affects a whole round.
The result is CPU time from the first import on, without the time that broker and API take.

- ``request``: the baseline and one request over httpx, which imports its transport only then
- ``module``: importing the function's module alone
- ``imports``: importing all modules that are loaded when the first message is handled
- ``handled``: the whole time until then

At the end it prints the import time of each package that the baseline does not have, by ``-X importtime``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import uuid
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from infra.emulator.testing import running_emulator
from infra.local.broker import running_broker
from tests.integration.function_world import batch, event, function_world

ROOT = Path(__file__).parents[2]
INSTALLED = (str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
NOT_IN_THE_BUNDLE = (
    "httptools", "opentelemetry", "prometheus_client", "psycopg", "rich", "starlette", "typer",
    "uvicorn",
)  # fmt: skip

WRITE_NOTHING = "-B"
"""Without this option, the first process would write bytecode, which the next ones would use."""

START = """
import sys, time
sys.path[:0] = {path!r}
sys.modules.update(dict.fromkeys({missing!r}))
began = time.process_time()
"""
END = """
print(time.process_time() - began)
"""
BASELINE = """
import httpx, pika, pika.adapters.asyncio_connection, pydantic
class Model(pydantic.BaseModel):
    field: int = 1
httpx.AsyncClient
"""
REQUEST = """
import asyncio
async def main():
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get({url!r})
asyncio.run(main())
"""
MODULE = "import handler.function"
RECORD = """
class Recorder:
    names = []
    def find_spec(self, name, *_):
        self.names.append(name)
sys.meta_path.insert(0, Recorder())
"""
HANDLED = """
from handler.function import handler, initializer
class Context:
    getUserData = {settings!r}.get
    getRemainingTimeInMilliSeconds = lambda self: -1
context = Context()
initializer(context)
summary = handler({call!r}, context)
"""
RECORDED = """
assert summary["accepted"] == 1, summary
print(*(name for name in Recorder.names if sys.modules.get(name)))
"""
IMPORTS = """
import gc
gc.disable()  # as it is while an instance is made
for name in {modules!r}:
    __import__(name)
"""


class Runner:
    """Runs code in new processes of one Python with one search path, and returns their output."""

    def __init__(self, python: str, path: Sequence[str], *options: str) -> None:
        self._start = START.format(path=list(path), missing=NOT_IN_THE_BUNDLE)
        self._command = [python, "-I", "-S", *options, "-c"]

    def run(self, code: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [self._command[0], *options, *self._command[1:], self._start + code]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done

    def last_line(self, code: str) -> str:
        return self.run(code).stdout.splitlines()[-1]

    def seconds(self, code: str) -> float:
        return float(self.last_line(code))

    def modules(self, code: str) -> dict[str, float]:
        """Return the seconds that each module's own code takes, without its imports."""
        lines = [line.split("|") for line in self.run(code, "-X", "importtime").stderr.splitlines()]
        timed = [(line[0].partition(":")[2], line[2].strip()) for line in lines if len(line) == 3]
        return {name: int(own) / 1e6 for own, name in timed if own.strip().isdigit()}


def handled(settings: dict[str, str]) -> str:
    """Return code that calls the function with the event of a new snapshot."""
    return HANDLED.format(settings=settings, call=batch(event(snapshot_name="nightly-db01", size_gb=40)))


def measure(runner: Runner, settings: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Run each kind of process in turn, and return the seconds of each round."""
    modules = runner.last_line(RECORD + handled(settings) + RECORDED).split()
    kinds = {
        "baseline": BASELINE + END,
        "request": BASELINE + REQUEST.format(url=settings["VBS_ENDPOINT"]) + END,
        "module": MODULE + END,
        "imports": IMPORTS.format(modules=modules) + END,
    }
    taken: dict[str, list[float]] = {name: [] for name in (*kinds, "handled")}
    for _ in range(rounds):
        for name, code in kinds.items():
            taken[name].append(runner.seconds(code))
        taken["handled"].append(runner.seconds(handled(settings) + END))
    return taken


def show(title: str, taken: dict[str, list[float]], baseline: list[float]) -> None:
    print(f"\n{title}", flush=True)
    for name, seconds in taken.items():
        ratio = statistics.median(each / unit for each, unit in zip(seconds, baseline, strict=True))
        print(f"{name:<9} {statistics.median(seconds) * 1000:>6.0f} ms {ratio:>6.2f}", flush=True)


def show_packages(runner: Runner, settings: dict[str, str], rounds: int) -> None:
    known = runner.modules(BASELINE)
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        packages: defaultdict[str, float] = defaultdict(float)
        for name, seconds in runner.modules(BASELINE + handled(settings)).items():
            if name not in known:
                packages[name.partition(".")[0]] += seconds * 1000
        for package, total in packages.items():
            taken[package].append(total)
    medians = {package: statistics.median(times) for package, times in taken.items()}
    told = sorted((package for package in medians if medians[package] >= 1), key=lambda each: -medians[each])
    print("importing", ", ".join(f"{package} {medians[package]:.0f} ms" for package in told), flush=True)


def patient(url: str) -> str:
    """Return the broker's URL without heartbeats, since the test's connection is idle for minutes."""
    return f"{url}{'&' if '?' in url else '?'}heartbeat=0"


def bundle(python: str, path: Path, settings: dict[str, str], rounds: int) -> None:
    """Measure a bundle with and without its bytecode, in units of the same baseline."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        compiled = list(Path(folder).rglob("*.pyc"))
        runner = Runner(python, [folder], WRITE_NOTHING)
        taken = measure(runner, settings, rounds)
        show(f"{path.name}, {len(compiled)} files of bytecode", taken, taken["baseline"])
        show_packages(runner, settings, rounds)
        if compiled:
            for file in compiled:
                file.unlink()
            without = measure(runner, settings, rounds)
            show("without them, in units of the same baseline", without, taken["baseline"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--python", default=sys.executable)
    arguments = parser.parse_args()
    os.environ["RUNTIME_TIMEOUT"] = "60"
    name = f"bench-{uuid.uuid4().hex[:8]}"
    with (
        running_broker() as broker,
        running_emulator() as emulator,
        function_world(patient(broker.url), name, emulator) as world,
    ):
        if arguments.bundle:
            bundle(arguments.python, arguments.bundle, world.settings, arguments.rounds)
        else:
            runner = Runner(arguments.python, INSTALLED)
            taken = measure(runner, world.settings, arguments.rounds)
            show("this checkout", taken, taken["baseline"])
            show_packages(runner, world.settings, arguments.rounds)


if __name__ == "__main__":
    main()
