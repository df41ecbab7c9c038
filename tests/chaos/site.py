"""``Site``: a system of real parts for tests, with its own queues, an emulator, and workers to kill."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from events.message import Message
from events.state_keys import StateKeys
from handler.broker.topology import Topology
from infra.emulator.testing import Emulator
from tests import forks, piped
from tests.chaos.rabbit import Rabbit, Sink, delete
from tests.chaos.verdicts import ACCEPTED, TERMINAL, Tally, judge
from tests.declaring import declared
from tests.forks import Forked
from tests.patience import patient
from tests.twins.events import made_up_id, message
from tests.twins.world import KEYS

ROOT = Path(__file__).parents[2]
DELAYS = (1, 2, 4)
EXIT_SECONDS = 30.0
FINISH_SECONDS = 60.0
QUICK = {
    "LEASE_SECONDS": "2",
    "VBS_TIMEOUT": "2",
    "TRACK_BACKUPS": "false",
    "DRAIN_SECONDS": "5",
    "LOG_FORMAT": "json",
}
"""Settings that shorten delays from minutes to seconds."""

Program = subprocess.Popen[bytes] | Forked


@dataclass
class Site:
    """Starts and kills workers, publishes events, checks outcomes; ``settings`` are those of each worker."""

    amqp_url: str
    emulator: Emulator
    folder: Path
    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    delays: Sequence[int] = DELAYS
    workers: list[Program] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    commands: list[Program] = field(default_factory=list)
    logs: dict[int, Path] = field(default_factory=dict)
    started: int = 0
    measured: bool = False
    """Whether CPU and memory of the workers are measured: they share none with the tests then."""

    @property
    def queues(self) -> Sequence[str]:
        """All queues of the program; the worker consumes the first."""
        waits = [f"{self.name}.wait.{delay}s" for delay in self.delays]
        return [self.name, *waits, f"{self.name}.dead"]

    @property
    def tracked(self) -> bool:
        """Whether backups are tracked to their end."""
        return self.environment["TRACK_BACKUPS"] == "true"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a worker."""
        return {
            **QUICK,
            "WAIT_LADDER": ",".join(map(str, self.delays)),
            "AMQP_URL": self.amqp_url,
            "SNAPSHOT_QUEUE": self.name,
            "STATE_KEYS": KEYS.keys[0].decode(),
            "SNAPSHOT_EXCHANGE": f"{self.name}.in",
            "RESULT_EXCHANGE": f"{self.name}.out",
            "VBS_ENDPOINT": self.emulator.url,
            "VBS_AUTH": "none",
            "LEDGER_URL": f"sqlite:///{self.folder}/ledger.db",
            **self.settings,
        }

    def __enter__(self) -> Self:
        self.rabbit = Rabbit(self.amqp_url).__enter__()
        self.listener = Rabbit(self.amqp_url).__enter__()
        self.sink = Sink(self.listener, f"{self.name}.out", f"{self.name}.sink")
        self.declare_at(self.amqp_url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.workers, *self.commands):
            self.kill(process)
        if kind is None:
            exchanges = [f"{self.name}{end}" for end in ("", ".in", ".out", ".dead")]
            delete(self.rabbit, [*self.queues, self.sink.queue], exchanges)
        self.listener.close()
        self.rabbit.close()

    def declare_at(self, url: str) -> None:
        """Declare the topology, so that events may be published before a worker has started."""
        quorum = self.environment.get("QUEUE_TYPE") != "classic"
        names = Topology(self.name, f"{self.name}.in", f"{self.name}.out", self.delays, quorum)
        asyncio.run(declared(url, names))

    def start_worker(
        self, *arguments: str, python: Sequence[str] = (), quick: bool = False, **settings: str
    ) -> Program:
        """Start a worker that logs into the folder. ``python`` has import paths before the project's own.

        A ``quick`` one sweeps and checks the topology every second: see ``quick_worker``.
        """
        self.started += 1
        log = self.folder / f"worker-{self.started}.log"
        environment = self._environ(python, **settings)
        with log.open("wb") as output:
            # A supervisor starts others by its own command line.
            if arguments or python or self.measured or "LD_PRELOAD" in environment:
                worker: Program = subprocess.Popen(
                    self._command("worker", *arguments),
                    env=environment,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            else:
                module, command = ("tests.chaos.quick_worker", []) if quick else ("handler", ["worker"])
                worker = forks.start(
                    module, command, environment=environment, folder=self.folder, output=output.fileno()
                )
        self.workers.append(worker)
        self.logs[worker.pid] = log
        return worker

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with a worker's settings until it ends."""
        return piped.run(*arguments, environment=self._environ(), folder=self.folder, timeout=EXIT_SECONDS)

    def begin(self, *arguments: str) -> Program:
        """Begin a command with a worker's settings; it ends with the site at the latest."""
        with Path(os.devnull).open("wb") as nowhere:
            command = forks.start(
                "handler",
                arguments,
                environment=self._environ(),
                folder=self.folder,
                output=nowhere.fileno(),
            )
        self.commands.append(command)
        return command

    def working(self) -> Sequence[Program]:
        """Return the workers that have connected to the broker."""
        return [each for each in self.workers if b"broker.connected" in self.logs[each.pid].read_bytes()]

    def kill(self, worker: Program) -> None:
        """Kill a worker with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            worker.send_signal(signal.SIGKILL)
        worker.wait(patient(EXIT_SECONDS))
        self.workers = [each for each in self.workers if each is not worker]

    def stop(self) -> float:
        """Drain all workers, and return how many seconds the slowest took."""
        # A worker that is still starting has no handler for the signal yet.
        wait_for(lambda: len(self.working()) == len(self.workers), seconds=30, what=self.log_tail)
        started = time.monotonic()
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            assert 0 == worker.wait(patient(EXIT_SECONDS)), self.log_tail()
        self.workers = []
        return time.monotonic() - started

    @property
    def state_keys(self) -> StateKeys:
        """The keys of the workers."""
        return KEYS._replace(queue=self.name)

    def publish(self, *messages: Message) -> None:
        """Publish as a producer does."""
        for each in messages:
            self.rabbit.publish(f"{self.name}.in", "snapshot.completed", each)

    def ask(self, events: Mapping[str, tuple[str, Message]]) -> None:
        """Publish events, and record the snapshot of each event id."""
        for event_id, (snapshot_id, event) in events.items():
            self.publish(event)
            self.asked[event_id] = snapshot_id

    def wait_until_ended(self, *, seconds: float, events: set[str] | None = None) -> float:
        """Wait until each event (of these) has a terminal outcome; return how many seconds it took."""
        started = time.monotonic()
        wanted = set(self.asked) if events is None else events
        terminal = TERMINAL if self.tracked else TERMINAL | {ACCEPTED}
        while missing := wanted - self.sink.ended(terminal):
            assert time.monotonic() - started < patient(seconds), (
                f"{len(missing)} of {len(wanted)} events have no terminal outcome after {seconds:g} s:"
                f" {sorted(missing)[:3]}\n{self.counts()}\n{self.log_tail()}"
            )
            self.sink.poll(0.2)
        return time.monotonic() - started

    def counts(self) -> Mapping[str, int]:
        """Return how many messages are ready in each queue."""
        return {queue: self.rabbit.count(queue) for queue in self.queues}

    def bodies(self) -> list[bytes]:
        """Return every published outcome as bytes."""
        return [json.dumps(each).encode() for each in self.sink.outcomes]

    def judge(self, title: str, *, dead: int = 0, **notes: object) -> Tally:
        """Stop the workers, print the verdicts, and require empty queues except for ``dead`` dead letters."""
        drain = self._finish()
        self.sink.poll(0.3)
        backups = [each["snapshot_id"] for each in self.emulator.backups()]
        tally = judge(self.asked.values(), self.sink.outcomes, backups, tracked=self.tracked)
        print(f"\n{tally.table(title, **notes, drain=f'{drain:.1f} s')}")
        assert {} == tally.bad
        assert dict.fromkeys(self.queues, 0) | {self.queues[-1]: dead} == self.counts()
        return tally

    def _finish(self) -> float:
        """Stop the workers when nothing is left, and return how many seconds the drain took.

        A message that was in hand, which no count shows, may be delayed by the drain: then a worker goes on.
        """
        give_up = time.monotonic() + patient(FINISH_SECONDS)
        while True:
            wait_for(lambda: not sum(self.unfinished().values()), seconds=30, what=self.unfinished)
            drain = self.stop()
            if not sum(self.unfinished().values()):
                return drain
            assert time.monotonic() < give_up, f"{self.unfinished()}\n{self.log_tail()}"
            self.start_worker()

    def unfinished(self) -> Mapping[str, int]:
        """Return how many messages are ready in each queue except the dead-letter queue."""
        return {queue: count for queue, count in self.counts().items() if not queue.endswith(".dead")}

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of the latest workers' logs."""
        logs = [self.folder / f"worker-{number}.log" for number in range(self.started, 0, -1)][:3]
        return "\n".join(
            line for log in logs for line in log.read_text(errors="replace").splitlines()[-lines:]
        )

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "handler", *arguments]

    def _environ(self, python: Sequence[str] = (), **settings: str) -> dict[str, str]:
        paths = os.pathsep.join([*python, str(ROOT)])
        return {**os.environ, **self.environment, **settings, "PYTHONPATH": paths}


def wait_for(condition: Callable[[], bool], *, seconds: float, what: Callable[[], object]) -> float:
    """Wait for a condition; return how many seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < patient(seconds), f"not within {seconds:g} s: {what()}"
        time.sleep(0.05)
    return time.monotonic() - started


def many(first: int, last: int, **fields: Any) -> Iterator[tuple[str, tuple[str, Message]]]:
    """Yield events numbered from ``first`` to ``last`` (not included): id, snapshot and message."""
    for number in range(first, last):
        yield (
            made_up_id("event", number),
            (made_up_id("snapshot", number), message(number, **fields)),
        )
