"""Memory and file descriptors of a running process, from Linux's /proc."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Vitals:
    """A sample at a time (monotonic seconds): resident memory in MB, and open file descriptors."""

    at: float
    rss: float
    descriptors: int


def vitals(pid: int) -> Vitals:
    """Take a sample of a running process; skip the test on systems without /proc."""
    folder = Path(f"/proc/{pid}")
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("memory and descriptors of a process are read from /proc, which is Linux's")
    found = _RSS.search((folder / "status").read_text())
    assert found, "the process has ended"
    return Vitals(time.monotonic(), int(found[1]) / 1024, len(list((folder / "fd").iterdir())))
