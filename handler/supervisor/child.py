"""A worker process under a supervisor: another run of this program, with a channel to it."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from handler.status.server import Answer
from handler.supervisor.channel import Channel


class Membership(NamedTuple):
    """What a supervisor tells a worker process: its number, and the socket that it inherits.

    ``agreed`` is what all have in common; see ``handler.supervisor.agreement``.
    """

    number: int
    socket: int
    agreed: str

    def __str__(self) -> str:
        return f"{self.number}:{self.socket}:{self.agreed}"

    @classmethod
    def parse(cls, text: str) -> "Membership":
        """Read ``NUMBER:SOCKET:AGREED``. Raises ``ValueError`` where no such socket is open."""
        number, inherited, agreed = text.split(":")
        try:
            is_socket = stat.S_ISSOCK(os.fstat(int(inherited)).st_mode)
        except OSError:
            is_socket = False
        if not is_socket:
            raise ValueError(f"{text}: no such socket is open")
        return cls(int(number), int(inherited), agreed)


def this_program() -> Sequence[str]:
    """Return the command that started this process, without the arguments after the program's name."""
    before = len(sys.orig_argv) - len(sys.argv[1:])
    return sys.executable, *sys.orig_argv[1:before]


class Child:
    """A worker process. ``begun`` says whether it has ever answered."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self.number = number
        self.begun = False
        self._process = process
        self._channel = channel
        self._started = time.monotonic()

    @classmethod
    async def start(cls, number: int, command: Sequence[str], agreed: str = "") -> "Child":
        """Start ``command worker``: a new interpreter, not a fork of this one. Raises ``OSError``."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                membership = Membership(number, theirs.fileno(), agreed)
                process = await asyncio.create_subprocess_exec(
                    *command, "worker", "--supervised", str(membership), pass_fds=[theirs.fileno()]
                )
        except BaseException:
            ours.close()
            raise
        return cls(number, process, await Channel.over(ours))

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    async def ask(self, path: str) -> Answer | None:
        """Ask for a page; None where the process has ended. The caller limits the time."""
        answer = await self._channel.ask(path)
        self.begun = self.begun or answer is not None
        return answer

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; return the exit code, or the signal as a negative number."""
        code = await self._process.wait()
        await self._channel.close()
        return code
