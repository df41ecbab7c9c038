"""Benchmark of tracking thousands of backups: the worker's memory, and its show calls compared with the plan.

``python -m tests.bench.watching --backups 1000 --settle 15`` with ``AMQP_URL`` set, or a private broker is
started. Each backup is in ``creating`` for ``--settle`` seconds. The plan has the delays of
``tracking_delay``, each rounded up to its wait queue. After a late call the next delay is longer, so a busy
machine makes fewer calls than planned.
"""

import argparse
import os
import tempfile
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path

from handler.backup.policy import tracking_delay
from handler.broker.topology import Topology
from infra.emulator.testing import running_emulator
from infra.local.broker import running_broker
from tests.chaos.site import Site, many, wait_for

GIVE_UP_SECONDS = 300.0
SAMPLE_SECONDS = 0.5


class Memory(threading.Thread):
    """A thread that samples a process's resident memory in MB, with the time of each sample."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.samples: dict[float, float] = {}
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            self.samples[time.time()] = resident(self._pid)

    def between(self, first: float, last: float) -> list[float]:
        return [memory for at, memory in self.samples.items() if first <= at <= last]


def resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def planned(topology: Topology, *, settle: float, size_gb: int) -> list[float]:
    """Return the ages in seconds at which a backup's status is queried; the last is after its end."""
    ages, age = [], 0.0
    while age < settle:
        name = topology.wait_queue(tracking_delay(age=age, size_gb=size_gb))
        age += int(name.rpartition(".")[2].removesuffix("s"))
        ages.append(age)
    return ages


def measure(url: str, *, backups: int, settle: float, size_gb: int, delays: list[int], folder: Path) -> None:
    """Make that many backups at once, track them to their end, and print the measurements."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    settings = {"TRACK_BACKUPS": "true", "LOG_LEVEL": "INFO"}
    with (
        running_emulator(process=True, settle=settle) as emulator,
        Site(url, emulator, folder, name, settings, delays) as site,
    ):
        site.measured = True
        worker = site.start_worker()
        wait_for(lambda: bool(site.working()), seconds=30, what=site.log_tail)
        idle = resident(worker.pid)
        memory = Memory(worker.pid)
        memory.start()
        site.ask(dict(many(0, backups, size_gb=size_gb)))
        site.wait_until_ended(seconds=GIVE_UP_SECONDS + settle)
        memory.over.set()
        report(site, memory, idle=idle, settle=settle, size_gb=size_gb)


def report(site: Site, memory: Memory, *, idle: float, settle: float, size_gb: int) -> None:
    """Print the measurements."""
    accepted = times(site, "backup.accepted")
    completed = times(site, "backup.completed")
    names = Topology(site.name, "", "", site.delays)
    plan = planned(names, settle=settle, size_gb=size_gb)
    shows = site.emulator.stats()["show"]
    late = sorted(
        outcome["data"]["seconds"] - settle
        for outcome in site.sink.outcomes
        if outcome["type"] == "backup.completed"
    )
    watched = memory.between(max(accepted), min(completed)) or [memory.samples[max(memory.samples)]]
    print(f"backups: {len(completed)} completed, {settle:g} s each in creating, ladder {site.delays}")
    print(f"accepted within {max(accepted) - min(accepted):.1f} s")
    print(
        f"show calls: {sum(shows.values())} ({shows}), planned at most {len(plan) * len(completed)}"
        f" ({len(plan)} each, at ages {plan})"
    )
    print(
        f"outcome published after the true end: median {late[len(late) // 2]:.2f} s, worst {late[-1]:.2f} s"
    )
    print(
        f"memory: {idle:.1f} MB idle; while all wait {watched[0]:.1f} to {watched[-1]:.1f} MB,"
        f" peak {max(memory.samples.values()):.1f} MB"
    )


def times(site: Site, kind: str) -> list[float]:
    """Return when outcomes of a type were published, in seconds since the epoch."""
    return [
        datetime.fromisoformat(each["time"]).timestamp()
        for each in site.sink.outcomes
        if each["type"] == kind
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=5_000)
    parser.add_argument("--settle", type=float, default=60.0)
    parser.add_argument("--size-gb", type=int, default=1)
    parser.add_argument("--ladder", type=int, nargs="*", default=[5, 30, 120, 600, 3600])
    arguments = parser.parse_args()
    with running_broker(os.environ.get("AMQP_URL")) as broker, tempfile.TemporaryDirectory() as folder:
        measure(
            broker.url,
            backups=arguments.backups,
            settle=arguments.settle,
            size_gb=arguments.size_gb,
            delays=arguments.ladder,
            folder=Path(folder),
        )


if __name__ == "__main__":
    main()
