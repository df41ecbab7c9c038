"""Outlives its parent for a moment, to end what the parent started and to clear its folder.

A parent that is killed cannot tidy up. This small process reads the parent's pipe; the pipe ends
when the parent does, whatever it died of.

    python -m infra.local.guardian FOLDER

Standard input: `+PGID` takes a process group into care, `-PGID` lets it go; `+NAME` and `-NAME` a container.
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
    """The parent's side: a folder, process groups and containers, that end when this process does."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(folder)],
            stdin=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )

    def watch(self, what: int | str) -> None:
        """End this process group, or remove the container of this name, when we end."""
        self._tell(f"+{what}")

    def forget(self, what: int | str) -> None:
        """It has ended; a group's number may soon belong to somebody else."""
        self._tell(f"-{what}")

    def close(self) -> None:
        """End what is still watched, remove the folder, and wait until that is done."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the guardian has no pipe")
        stdin.write(line + "\n")
        stdin.flush()


def watched_at_the_end(orders: TextIO) -> set[str]:
    """Read orders until the parent is gone; the groups and containers still in care."""
    watched: set[str] = set()
    for order in orders:
        change = watched.add if order[0] == "+" else watched.discard
        change(order[1:].strip())
    return watched


def end(what: str) -> None:
    """End a process group or a container; one that is gone already is as it should be."""
    if not what.isdecimal():
        remove_container(what)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(what), signal.SIGKILL)


def remove_container(name: str) -> None:
    """Remove a container with its volumes."""
    # Here, because it takes half a second, and is seldom needed.
    from docker.errors import NotFound
    from testcontainers.core.docker_client import DockerClient

    with contextlib.closing(DockerClient().client) as engine, contextlib.suppress(NotFound):
        engine.containers.get(name).remove(force=True, v=True)


def clear(folder: Path) -> None:
    """Remove a folder that a dying process may still be writing to."""
    end = time.monotonic() + CLEAR_SECONDS
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def main(folder: Path) -> None:
    """Wait for the parent's end, then end what it left."""
    for what in watched_at_the_end(sys.stdin):
        end(what)
    clear(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
