"""The guardian: a small process that cleans up after its parent, even if the parent is killed.

It reads a pipe from the parent, which closes when the parent ends for any reason. Then it kills the process
groups that the parent started, removes its containers, and deletes its folder.

    python -m infra.local.guardian FOLDER

Lines on standard input: `+PGID` adds a process group and `-PGID` removes it; `+NAME` and `-NAME` a container.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TextIO

CLEAR_SECONDS = 5.0
ANNOUNCED = 'echo "+$$" >&0 && exec "$@" </dev/null'
"""What a shell runs to write its process group to the pipe on its standard input, and become a program."""


class Guardian:
    """The parent's handle on its guardian, with the folder, process groups and containers to clean up."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), str(folder)],
            stdin=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C must not reach it
        )

    @property
    def pipe(self) -> int:
        """The pipe's file descriptor: the standard input of an `announced` command."""
        return self._stdin.fileno()

    def announced(self, command: Sequence[str]) -> Sequence[str]:
        """Return the command as one that has itself watched first; it needs `pipe` and a new session.

        This process may be killed as soon as it has started another, before it could have it watched.
        """
        return ["/bin/sh", "-c", ANNOUNCED, "sh", *command]

    def watch(self, container: str) -> None:
        """Remove the container of this name when this process ends."""
        self._write(f"+{container}")

    def forget(self, what: int | str) -> None:
        """Stop watching what has ended: the number of a group may be used again soon."""
        self._write(f"-{what}")

    def close(self) -> None:
        """End everything that is still watched, delete the folder, and wait until that is done."""
        self._process.communicate()

    @property
    def _stdin(self) -> IO[str]:
        if (stdin := self._process.stdin) is None:
            raise RuntimeError("the guardian has no pipe")
        return stdin

    def _write(self, line: str) -> None:
        self._stdin.write(line + "\n")
        self._stdin.flush()


def watched_at_the_end(orders: TextIO) -> set[str]:
    """Read lines until the parent has ended; return the groups and containers that are still watched."""
    watched: set[str] = set()
    for order in orders:
        change = watched.add if order[0] == "+" else watched.discard
        change(order[1:].strip())
    return watched


def end(what: str) -> None:
    """Kill a process group or remove a container; do nothing if it no longer exists."""
    if not what.isdecimal():
        remove_container(what)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(what), signal.SIGKILL)


def remove_container(name: str) -> None:
    """Remove a container with its volumes."""
    # Imported here, because the import takes half a second and is seldom needed.
    from docker.errors import NotFound
    from testcontainers.core.docker_client import DockerClient

    with contextlib.closing(DockerClient().client) as engine, contextlib.suppress(NotFound):
        engine.containers.get(name).remove(force=True, v=True)


def clear(folder: Path) -> None:
    """Delete a folder to which a process that is being killed may still write."""
    end = time.monotonic() + CLEAR_SECONDS
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def main(folder: Path) -> None:
    """Wait until the parent has ended, then end everything that it left."""
    for what in watched_at_the_end(sys.stdin):
        end(what)
    clear(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
