"""`infra/up` as a process that a user starts: its last line, its exit code, and its child processes."""

import json
import os
import re
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.local.account import Account
from infra.local.broker import Broker
from infra.local.ready import wait_until
from infra.local.samples import samples
from tests.piped import Piped, popen

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
SECONDS = 110.0


def shell(url: str, names: str) -> Mapping[str, str]:
    """Return a shell's environment: shared broker, unique names, and settings that no worker may get."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AMQP_URL": url,
        "SNAPSHOT_EXCHANGE": f"{names}-in",
        "SNAPSHOT_QUEUE": names,
        "RESULT_EXCHANGE": f"{names}-out",
        "VBS_ENDPOINT": "https://vbs.example.com",
        "LEDGER_URL": "none",
    }


@pytest.fixture
def environment(amqp_url: str, unique: str) -> Mapping[str, str]:
    """Return the environment of a shell with names of this test's own."""
    return shell(amqp_url, unique)


@contextmanager
def started(environment: Mapping[str, str], *arguments: str) -> Iterator[Piped]:
    """Start `infra/up`, and kill it at the end of the block."""
    with popen(*arguments, module="infra.local", environment=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(environment: Mapping[str, str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Run `infra/up` to its end, and return exit code and the lines of standard output and standard error."""
    with started(environment, *arguments) as process:
        out, err = process.communicate(timeout=SECONDS)
        return process.wait(), out.splitlines(), err.splitlines()


def lines_until(lines: Iterable[str], start: str) -> list[str]:
    """Read lines until one starts with this pattern, and return them."""
    read: list[str] = []
    for line in lines:
        read.append(line.rstrip())
        if re.match(start, line):
            return read
    raise AssertionError(f"no line starts with {start!r} in {read}")


def pid_of(program: str, lines: Iterable[str]) -> int:
    """Return the process id in the line about `program`."""
    line = next(line for line in lines if line.startswith(f"{program}: "))
    return int(line.rstrip(")").rpartition("pid ")[2])


def console_of(lines: Iterable[str]) -> str:
    """Return the address of the console."""
    return next(line for line in lines if line.startswith("console: ")).split()[1]


def is_gone(pid: int) -> bool:
    """Return whether no process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def expected_counts() -> dict[str, int]:
    """Return the counts that the samples lead to."""
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


def test_each_sample_has_its_expected_outcome(environment: Mapping[str, str]) -> None:
    """`--once --json` exits with 0, and each count is the one that the samples lead to."""
    code, out, err = finished(environment, "--once", "--json")
    assert 0 == code, "\n".join(err)
    assert [json.dumps(expected_counts())] == out
    for sample in samples():
        if sample.category:
            line = next(line for line in err if f"  {sample.what} - " in line and "failed" in line)
            assert f"{sample.what} - {sample.category}: " in line


@dataclass(frozen=True)
class Stay:
    """A run of fifty events, with a second run on the same queue, that SIGTERM ended."""

    last_line: str
    code: int
    pids: Sequence[int]
    second_code: int
    second_lines: Sequence[str]
    page: str
    """The first page of the console."""


@pytest.fixture(scope="module")
def stay(broker: Broker) -> Stay:
    """Do both runs once for all tests that check them."""
    environment = shell(broker.url, f"t-{secrets.token_hex(6)}")
    with started(environment, "--json", "--events", "50", "--seed", "7") as process:
        assert process.stderr is not None
        lines = lines_until(process.stderr, "every event has its outcome")
        second_code, second_lines, _ = finished(environment, "--once")
        page = httpx.get(console_of(lines), trust_env=False).text
        process.terminate()
        out, _ = process.communicate(timeout=SECONDS)
    pids = [pid_of(program, lines) for program in ("emulator", "worker", "console")]
    return Stay(out.splitlines()[-1], process.wait(), pids, second_code, second_lines, page)


def test_events_sends_the_given_number_of_events(stay: Stay) -> None:
    """`--events 50` sends 50 good events, which lead to 50 completed backups."""
    expected = {"sent": 50, "backups": 50, "accepted": 50, "completed": 50}
    assert expected | {"failed": 0, "skipped": 0, "dead": 0, "waiting": 0} == json.loads(stay.last_line)


def test_a_good_run_ended_by_a_signal_exits_with_0(stay: Stay) -> None:
    """If all events have their outcomes, a run that SIGTERM ends exits with 0."""
    assert 0 == stay.code


def test_a_run_that_stays_serves_the_operators_page(stay: Stay) -> None:
    """The printed address is that of the console, on the queues of the run."""
    assert "<h1>Overview</h1>" in stay.page
    assert "t-" in stay.page


def test_a_signal_ends_emulator_worker_and_console(stay: Stay) -> None:
    """After SIGTERM, the run leaves none of its programs running."""
    assert [True, True, True] == [is_gone(pid) for pid in stay.pids]


def test_a_queue_in_use_is_refused(stay: Stay) -> None:
    """A second run on a queue that another worker consumes exits with 2, since it would take its messages."""
    assert 2 == stay.second_code
    assert "is in use on this broker" in stay.second_lines[-1]


def test_a_wrong_setting_ends_before_anything_is_started() -> None:
    """A wrong AMQP_URL or another setting is one line that names it, and exit code 2, not a traceback."""
    for name, value, said in (
        ("AMQP_URL", "guest", "settings: AMQP_URL: must begin with amqp:// or amqps:// (TLS), "),
        ("QUEUE_TYPE", "stream", "settings: QUEUE_TYPE: must be quorum or classic, "),
    ):
        code, out, err = finished({**shell("", "t"), name: value}, "--once")
        assert (2, 1, []) == (code, len(out), err), (out, err)
        assert out[0].startswith(said)


def test_a_killed_worker_leaves_events_unaccounted_for(environment: Mapping[str, str]) -> None:
    """If the worker is killed, the run exits with 1, names the reason, and lists events without outcome."""
    with started(environment, "--once", "--events", "50") as process:
        assert process.stdout is not None
        os.kill(pid_of("worker", lines_until(process.stdout, "worker: ")), signal.SIGKILL)
        out, _ = process.communicate(timeout=SECONDS)
    assert 1 == process.returncode
    assert "the worker ended with code -9" in out
    assert "no outcome" in out


def test_an_interrupted_run_says_how_far_it_came(environment: Mapping[str, str]) -> None:
    """Ctrl-C prints one line with the counts, lists no event, and ends emulator and worker."""
    with started(environment, "--events", "5000", "--seed", "7") as process:
        assert process.stdout is not None
        lines = lines_until(process.stdout, "(sending|tracking): accepted ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert (1, "") == (process.returncode, err)
    assert re.search(r"^interrupted: [\d,]+ of 5,000 events sent, [\d,]+ accepted, ", out, re.MULTILINE), out
    assert "unaccounted" not in out
    assert out.endswith("messages stay in the queues of the broker that AMQP_URL names\n")
    assert all(is_gone(pid_of(program, lines)) for program in ("emulator", "worker"))


def test_a_killed_run_leaves_no_process(environment: Mapping[str, str]) -> None:
    """If the run is killed with SIGKILL, the guardian process ends emulator and worker."""
    with started(environment) as process:
        assert process.stdout is not None
        lines = lines_until(process.stdout, "worker: ")
    pids = [pid_of("emulator", lines), pid_of("worker", lines)]
    assert wait_until(lambda: all(map(is_gone, pids)), seconds=10)
