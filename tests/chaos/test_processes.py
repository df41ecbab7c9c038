"""``worker --processes``: worker processes and their supervisor, killed at any time."""

import json
import os
import random
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.local.broker import Broker
from infra.local.server import free_ports
from tests.chaos.site import Program, Site, many, wait_for
from tests.chaos.verdicts import Tally
from tests.forks import running_emulator
from tests.patience import patient

pytestmark = pytest.mark.broker

PROCESSES = 2
EVENTS = 80
KILLS = 2


def children(pid: int) -> Sequence[int]:
    """Return the ids of the processes that a process has started."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def alive(pid: int) -> bool:
    """Return whether a process exists, and has not ended."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listed.stdout.strip()[:1] not in ("", "Z")


@dataclass
class Pages:
    """The pages at a port."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=patient(10)) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ready(self) -> Mapping[str, bool]:
        """Return which workers are ready."""
        with suppress(OSError):
            workers = json.loads(self.get("/readyz")[1])["workers"]
            return {number: state["ready"] for number, state in workers.items()}
        return {}

    def counted(self) -> Mapping[tuple[str, str], float]:
        """Return every sample that may only grow."""
        return {
            (sample.name, str(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


def all_ready(pages: Pages) -> bool:
    """Return whether every worker process is ready."""
    ready = pages.ready()
    return len(ready) == PROCESSES and all(ready.values())


@dataclass
class Story:
    """What was seen while worker processes were killed."""

    tally: Tally | None = None
    scrapes: list[Mapping[tuple[str, str], float]] = field(default_factory=list)
    log: Sequence[Mapping[str, object]] = ()
    exit_code: int | None = None


@pytest.fixture(scope="module")
def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Site]:
    """Yield a site whose API answers slowly enough that a kill meets messages in hand."""
    folder = tmp_path_factory.mktemp("processes")
    with running_emulator(settle=0.2, seed=seed) as emulator:
        emulator.set_faults([{"route": "create", "effect": "delay", "seconds": 0.2, "probability": 0.5}])
        with Site(broker.url, emulator, folder, f"processes-{os.getpid()}-{seed}") as site:
            yield site


@pytest.fixture(scope="module")
def story(site: Site, seed: int) -> Story:
    """Let two processes handle events, kill one after the other meanwhile, and stop the supervisor."""
    rng, story = random.Random(seed), Story()
    (port,) = free_ports(1)
    pages = Pages(port)
    supervisor = site.start_worker("--processes", str(PROCESSES), HTTP_ADDRESS=f"127.0.0.1:{port}")
    wait_for(lambda: all_ready(pages), seconds=30, what=site.log_tail)
    for number in range(KILLS):
        site.ask(dict(many(EVENTS * number // KILLS, EVENTS * (number + 1) // KILLS)))
        site.sink.poll(rng.uniform(0.0, 0.5))
        story.scrapes.append(pages.counted())
        os.kill(rng.choice(children(supervisor.pid)), signal.SIGKILL)
        wait_for(lambda: len(children(supervisor.pid)) == PROCESSES, seconds=30, what=site.log_tail)
        story.scrapes.append(pages.counted())
    site.wait_until_ended(seconds=90)
    wait_for(lambda: all_ready(pages), seconds=30, what=site.log_tail)
    story.scrapes.append(pages.counted())
    story.tally = site.judge("worker processes killed", events=EVENTS, kills=KILLS)
    story.exit_code = supervisor.returncode
    story.log = [json.loads(line) for line in site.logs[supervisor.pid].read_text().splitlines()]
    return story


def test_killed_worker_processes_lose_no_event_and_make_no_second_backup(story: Story) -> None:
    """Each event has one outcome and each snapshot one backup, whichever process had them in hand."""
    assert story.tally is not None
    assert {} == story.tally.bad


def test_no_counter_goes_back_when_a_process_is_killed(story: Story) -> None:
    """What a killed process had counted stays in the sum."""
    last: dict[tuple[str, str], float] = {}
    for scrape in story.scrapes:
        assert {} == {
            key: (value, scrape.get(key)) for key, value in last.items() if scrape.get(key, -1) < value
        }
        last = dict(scrape)
    assert KILLS == last["snapshot_backup_process_restarts_total", "[]"]


def test_sigterm_to_the_supervisor_drains_all_its_workers(story: Story) -> None:
    """Each worker finishes what it has in hand, and the supervisor ends after them with exit code 0."""
    drained = [line["worker"] for line in story.log if line["action"] == "worker.stopped"]
    assert (0, [1, 2]) == (story.exit_code, sorted(drained))  # type: ignore[type-var]
    assert "supervisor.stopped" == story.log[-1]["action"]


def consuming(site: Site) -> Program:
    """Return a supervisor all of whose workers consume."""
    supervisor = site.start_worker("--processes", str(PROCESSES))
    log = site.logs[supervisor.pid]
    wait_for(lambda: log.read_text().count("consume.started") == PROCESSES, seconds=30, what=site.log_tail)
    return supervisor


def test_workers_end_orderly_when_their_supervisor_is_killed(site: Site) -> None:
    """Nothing reaches them but the end of the channel: they drain, and end."""
    supervisor = consuming(site)
    workers, log = children(supervisor.pid), site.logs[supervisor.pid]
    site.kill(supervisor)
    wait_for(lambda: not any(map(alive, workers)), seconds=30, what=site.log_tail)
    assert (PROCESSES, PROCESSES) == (
        log.read_text().count("supervisor.missing"),
        log.read_text().count("worker.stopped"),
    )


def test_a_second_signal_kills_a_worker_that_stands_still(site: Site) -> None:
    """It does not wait for DRAIN_SECONDS, and the supervisor ends by the signal, as a worker does."""
    supervisor = consuming(site)
    workers, log = children(supervisor.pid), site.logs[supervisor.pid]
    os.kill(workers[0], signal.SIGSTOP)
    supervisor.terminate()
    wait_for(lambda: not alive(workers[1]), seconds=30, what=site.log_tail)
    supervisor.send_signal(signal.SIGINT)
    assert -signal.SIGINT == supervisor.wait(patient(30))
    assert (False, True) == (alive(workers[0]), "supervisor.killed" in log.read_text())


def test_a_login_that_is_refused_ends_the_whole(site: Site) -> None:
    """A worker that ends with exit code 2 is not started again, and the others end with it."""
    wrong = urlsplit(site.amqp_url)._replace(netloc=f"nobody:wrong@{site.amqp_url.rpartition('@')[2]}")
    supervisor = site.start_worker("--processes", str(PROCESSES), AMQP_URL=urlunsplit(wrong))
    assert 2 == supervisor.wait(patient(30))
    said = site.logs[supervisor.pid].read_text()
    assert (True, False) == ("settings: AMQP_URL" in said, "supervisor.restart" in said)
