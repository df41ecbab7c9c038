"""Starts the project's programs for tests by forking: importing them takes half a second of CPU.

One process (``python -m tests.forks``) imports them for a test process, and forks for each start. What runs
is a process like any other, with its own environment, folder, output and exit code.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.emulator.settings import Settings
from infra.emulator.testing import Emulator, connected, to_arguments
from tests.patience import patient

ROOT = Path(__file__).parents[1]
MAX_REQUEST = 200_000
START_SECONDS = 60.0

IMPORTED = (
    "handler.commands.worker", "handler.commands.doctor", "handler.bootstrap", "handler.ledger.sqlite",
    "handler.ledger.postgres", "handler.status.server", "infra.emulator.cli", "uvloop",
)  # fmt: skip


class Request(NamedTuple):
    """A program to start: the module of ``python -m``, its arguments, and all its environment."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Forked:
    """A started program, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, forks: "Forks", pid: int) -> None:
        self.pid = pid
        self._forks = forks

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal; None while it is not known to have ended."""
        return self._forks.ended.get(self.pid)

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        self._forks.receive(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code at its end. Raises ``subprocess.TimeoutExpired``."""
        over = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if over is not None and time.monotonic() > over:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
            self._forks.receive(0.5)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forks:
    """The forking process of this test process."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for each in (self._socket, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_REQUEST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forks", str(theirs.fileno()), str(os.getpid())],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def start(self, request: Request, streams: Sequence[int]) -> Forked:
        """Start a program with the file descriptors of its input, its output and its errors."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
        started: list[int] = []
        over = time.monotonic() + patient(START_SECONDS)
        while not started:
            assert time.monotonic() < over, "the forking process does not answer"
            assert self._process.poll() is None, "the forking process has ended"
            started = self.receive(0.5)
        return Forked(self, started[0])

    def receive(self, seconds: float) -> list[int]:
        """Note what has ended, after waiting for it so long at most; return what was started."""
        started = []
        while select.select([self._socket], [], [], seconds)[0]:
            notice = json.loads(self._socket.recv(MAX_REQUEST))
            if "code" in notice:
                self.ended[notice["pid"]] = notice["code"]
            else:
                self.ended.pop(notice["pid"], None)  # of an earlier process with this id
                started.append(notice["pid"])
            seconds = 0.0
        return started


@functools.cache
def forks() -> Forks:
    """Return the forking process of this test process. It ends with it."""
    only = Forks()
    atexit.register(only.close)
    return only


def start(
    module: str,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    output: int,
    errors: int | None = None,
    stdin: int | None = None,
) -> Forked:
    """Start ``python -m module`` in a folder, with all its environment.

    It writes to the file descriptor ``output``, and its errors there too if ``errors`` is None. Without
    ``stdin`` it reads nothing.
    """
    request = Request(module, arguments, dict(environment), str(folder))
    with open(os.devnull) as nothing:  # noqa: PTH123
        read = nothing.fileno() if stdin is None else stdin
        return forks().start(request, [read, output, output if errors is None else errors])


@contextlib.contextmanager
def running_emulator(**options: Any) -> Iterator[Emulator]:
    """Run an emulator in a process of its own; ``options`` are the fields of its settings."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as output:
        arguments = ["--port", "0", *to_arguments(Settings(**options))]
        try:
            program = start(
                "infra.emulator", arguments, environment=os.environ, folder=ROOT, output=writing, errors=2
            )
        finally:
            os.close(writing)
        try:
            with connected(output.readline()) as emulator:
                yield emulator
        finally:
            program.terminate()
            program.wait(patient(START_SECONDS))


def _serve(place: socket.socket, parent: int) -> Request | None:
    """Fork for each request. Returns the request in the child, and None when the test process has ended."""
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.getppid() == parent:
        ready = select.select([place, woken], [], [], 1.0)[0]
        if woken in ready:
            woken.recv(1000)
            _report_ended(place)
        if place not in ready:
            continue
        content, files, _, _ = socket.recv_fds(place, MAX_REQUEST, 3)
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            for each in (place, woken, waker):
                each.close()
            return _become(Request(*json.loads(content)), files)
        for file in files:
            os.close(file)
        place.send(json.dumps({"pid": pid}).encode())
    return None


def _report_ended(place: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            place.send(json.dumps({"pid": ended[0], "code": os.waitstatus_to_exitcode(ended[1])}).encode())


def _become(request: Request, files: Sequence[int]) -> Request:
    """Take over what a new process is given: streams, environment, folder, handlers of signals."""
    for standard, each in enumerate(files):
        os.dup2(each, standard)
    for each in files:
        os.close(each)
    _open_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    return request


def _open_streams() -> None:
    """Open the standard streams anew, as Python does at its start: a stream knows its kind of file."""
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # type: ignore[misc] # noqa: SIM115
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )


def _import() -> None:
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # as the program's entry does
    for name in IMPORTED:
        with contextlib.suppress(ImportError):  # not all extras are installed everywhere
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the collector does not touch, and so copy, what is shared


def main(arguments: Sequence[Any]) -> None:
    """Serve requests on the socket of this file descriptor, for the parent of this process id."""
    descriptor, parent = map(int, arguments)
    _import()
    request = _serve(socket.socket(fileno=descriptor), parent)
    if request is not None:
        sys.argv = [request.module, *request.arguments]
        runpy.run_module(request.module, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
