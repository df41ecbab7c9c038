"""`infra/up` as a user starts it: a process, its last line, its exit code, and what is left of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.account import Account
from infra.local.ready import wait_until
from infra.local.samples import samples

ROOT = Path(__file__).parents[2]
SECONDS = 110.0

Start = Callable[..., Any]


@pytest.fixture
def environment(amqp_url: str, unique: str) -> Mapping[str, str]:
    """The shell: the shared broker, names of our own, and settings that must not reach the worker."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AMQP_URL": amqp_url,
        "SNAPSHOT_EXCHANGE": f"{unique}-in",
        "SNAPSHOT_QUEUE": unique,
        "RESULT_EXCHANGE": f"{unique}-out",
        "VBS_ENDPOINT": "https://vbs.example.com",
        "LEDGER_URL": "none",
    }


@contextmanager
def started(environment: Mapping[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Start it; whatever the test does, it has ended afterwards."""
    command = [sys.executable, "-m", "infra.local.up", *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(environment: Mapping[str, str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Run it to its end: exit code, lines of standard output and of standard error."""
    with started(environment, *arguments) as process:
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out.splitlines(), err.splitlines()


def told_pid(process: "subprocess.Popen[str]", program: str) -> int:
    """Read what it says until it names the process id of `program`."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"{program}: "):
            return int(line.rstrip().rstrip(")").rpartition("pid ")[2])
    raise AssertionError(f"no line about the {program}: {process.communicate()[1]}")


def is_gone(pid: int) -> bool:
    """Whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def expected_counts() -> dict[str, int]:
    """What the samples say of themselves."""
    account = Account()
    ends: dict[str, str] = {}
    made = 0
    for sample in samples():
        account.send(sample)
        if sample.event_id and sample.event_id not in ends:
            ends[sample.event_id] = sample.ends
            made += sample.ends == "completed" or sample.category == "backup_error"
    told = list(ends.values())
    return {
        "sent": len(told),
        "backups": made,
        "accepted": made,
        "completed": told.count("completed"),
        "failed": told.count("failed"),
        "skipped": told.count("skipped"),
        "dead": told.count("failed"),
        "waiting": 0,
    }


def test_samples_end_as_they_say(environment: Mapping[str, str]) -> None:
    """`--once --json`: exit 0, and every count is what the samples foretell."""
    code, out, err = finished(environment, "--once", "--json")
    assert 0 == code, "\n".join(err)
    assert [json.dumps(expected_counts())] == out
    for sample in samples():
        if sample.category:
            line = next(line for line in err if f"  {sample.what} - " in line and "failed" in line)
            assert f"{sample.what} - {sample.category}: " in line


def test_events_sends_exactly_so_many(environment: Mapping[str, str]) -> None:
    """`--events 50` sends 50 good events: 50 backups, 50 completed, nothing else."""
    code, out, err = finished(environment, "--once", "--json", "--events", "50", "--seed", "7")
    assert 0 == code, "\n".join(err)
    expected = {"sent": 50, "backups": 50, "accepted": 50, "completed": 50}
    assert expected | {"failed": 0, "skipped": 0, "dead": 0, "waiting": 0} == json.loads(out[-1])


def test_a_killed_worker_leaves_events_unaccounted_for(environment: Mapping[str, str]) -> None:
    """Exit 1 and a summary that does not add up, with each missing event named."""
    with started(environment, "--once", "--events", "50") as process:
        worker, emulator = told_pid(process, "worker"), None
        os.kill(worker, signal.SIGKILL)
        out, err = process.communicate(timeout=SECONDS)
    assert emulator is None
    assert 1 == process.returncode, err
    assert "the worker ended with code -9" in out
    assert "no outcome" in out


def test_a_signal_ends_everything(environment: Mapping[str, str]) -> None:
    """After SIGTERM nothing that was started is left."""
    with started(environment) as process:
        emulator, worker = told_pid(process, "emulator"), told_pid(process, "worker")
        process.terminate()
        process.communicate(timeout=SECONDS)
    assert is_gone(emulator)
    assert is_gone(worker)


def test_a_killed_run_leaves_no_process(environment: Mapping[str, str]) -> None:
    """SIGKILL lets nobody tidy up; the guardian does."""
    with started(environment) as process:
        emulator, worker = told_pid(process, "emulator"), told_pid(process, "worker")
    assert wait_until(lambda: is_gone(emulator) and is_gone(worker), seconds=10)


def test_a_queue_in_use_is_left_alone(environment: Mapping[str, str]) -> None:
    """A given broker's queue that somebody consumes is refused: his messages would be taken."""
    with started(environment) as process:
        told_pid(process, "worker")
        code, out, err = finished(environment, "--once")
    assert 2 == code, err
    assert "is in use on this broker" in out[-1]


def test_a_worker_that_cannot_start_shows_its_last_words(environment: Mapping[str, str]) -> None:
    """What is wrong is said, and the exit code is not 0."""
    code, out, _ = finished({**environment, "SNAPSHOT_QUEUE": "not a name"}, "--once")
    assert 2 == code
    assert "settings: SNAPSHOT_QUEUE" in out[-1]
