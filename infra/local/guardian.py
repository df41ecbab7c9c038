"""Outlives its parent for a moment, to end what the parent started and to clear its folder.

A parent that is killed cannot tidy up. This small process reads the parent's pipe; the pipe ends
when the parent does, whatever it died of.

    python -m infra.local.guardian FOLDER

Standard input: `+PGID` takes a process group into care, `-PGID` lets it go.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

CLEAR_SECONDS = 5.0


class Guardian:
    """The parent's side: a folder, and process groups, that end when this process does."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(folder)],
            stdin=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )

    def watch(self, group: int) -> None:
        """End this process group when we end."""
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """It has ended; its number may soon belong to somebody else."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """End what is still watched, remove the folder, and wait until that is done."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the guardian has no pipe")
        stdin.write(line + "\n")
        stdin.flush()


def watched_at_the_end(orders: TextIO) -> set[int]:
    """Read orders until the parent is gone; the groups still in care."""
    groups: set[int] = set()
    for order in orders:
        change = groups.add if order[0] == "+" else groups.discard
        change(int(order[1:]))
    return groups


def clear(folder: Path) -> None:
    """Remove a folder that a dying process may still be writing to."""
    end = time.monotonic() + CLEAR_SECONDS
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def main(folder: Path) -> None:
    """Wait for the parent's end, then end what it left."""
    for group in watched_at_the_end(sys.stdin):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    clear(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
