"""The rows of the throughput benchmark: what a run used, and medians and spread of several rounds."""

import os
import platform
import re
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Row:
    """One run: events per second, microseconds of CPU per event, peak memory in MB.

    ``loop`` is the part of ``cpu`` that the main thread used, where the event loop runs. ``calls`` are system
    calls per event, if they were counted.
    """

    program: str
    rate: float
    cpu: float
    loop: float
    memory: float
    calls: float | None = None


def head(what: str, folder: Path) -> str:
    """Return date, commit and interpreter, for a table."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{what}: {commit}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"


def family(pid: int) -> Sequence[int]:
    """Return a process and those that it has started: a supervisor's workers."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, started)]


def has_ledger(pid: int) -> bool:
    """Return whether a worker has begun to use its ledger, on a second thread."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


def cpu_seconds(pid: int) -> float:
    """Return the CPU that a process has used, of all its threads and of the kernel."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def loop_seconds(pid: int) -> float:
    """Return the CPU that its main thread has used."""
    return _seconds(Path(f"/proc/{pid}/task/{pid}/stat"))


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_memory(pid: int) -> float:
    """Return the most memory that it has had, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


class SystemCalls:
    """Counts the system calls of a running process by strace, which slows it down."""

    def __init__(self, pid: int) -> None:
        self._summary = tempfile.NamedTemporaryFile("r", suffix=".strace")  # noqa: SIM115 - until the end
        command = ["strace", "-f", "-c", "-o", self._summary.name, "-p", str(pid)]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        self._strace.stderr.readline()  # it is attached

    def end(self) -> float:
        """Stop counting; print the usual calls, and return how many there were."""
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate()
        with self._summary as summary:
            text = summary.read()
        print("\n".join(text.splitlines()[:10]), flush=True)
        total = re.search(r"^\s*100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total$", text, re.MULTILINE)
        if total is None:
            raise ValueError(f"strace has no total: {text[-200:]}")
        return int(total[1])


def print_rows(rounds: Sequence[Mapping[str, Row]], traced: Mapping[str, Row]) -> None:
    """Print medians, with the least and the most, and the medians of the ratios within each round."""
    programs = list(rounds[0])
    reference = "base" if "base" in programs else programs[0]
    print(
        f"{'program':<10} {'events/s':>20} {'CPU us':>17} {'loop us':>17} {'threads us':>10} {'MB':>4} "
        f"{'rate of ' + programs[0]:>13} {'CPU of ' + reference:>12} {'calls':>6}"
    )
    for program in programs:
        rows = [each[program] for each in rounds]
        rate = statistics.median(each[program].rate / each[programs[0]].rate for each in rounds)
        cpu = statistics.median(each[program].cpu / each[reference].cpu for each in rounds)
        threads = statistics.median(row.cpu - row.loop for row in rows)
        memory = statistics.median(row.memory for row in rows)
        calls = traced[program].calls if program in traced else None
        print(
            f"{program:<10} {_spread(rows, lambda row: row.rate):>20} "
            f"{_spread(rows, lambda row: row.cpu):>17} {_spread(rows, lambda row: row.loop):>17} "
            f"{threads:>10.0f} {memory:>4.0f} {rate:>13.2f} {cpu:>12.2f} "
            f"{'' if calls is None else f'{calls:.1f}':>6}",
            flush=True,
        )


def _spread(rows: Sequence[Row], value: Callable[[Row], float]) -> str:
    values = [value(row) for row in rows]
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"
