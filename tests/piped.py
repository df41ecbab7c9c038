"""The console command with pipes, as ``subprocess`` starts it, but forked: see ``forks``."""

import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Self, TextIO, cast

from tests import forks

ROOT = Path(__file__).parents[1]


class Piped(forks.Forked):
    """A started program with its pipes: what tests use of ``subprocess.Popen``."""

    def __init__(self, program: forks.Forked, streams: "list[TextIO | None]") -> None:
        super().__init__(forks.forks(), program.pid)
        self.stdin, self.stdout, self.stderr = streams

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def communicate(self, text: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write to it, and return its outputs at its end. Raises ``subprocess.TimeoutExpired``."""
        if self.stdin is not None:
            self.stdin.write(text)
            self.stdin.close()
        outputs = {stream: list[str]() for stream in (self.stdout, self.stderr) if stream is not None}
        readers = [
            Thread(target=lambda stream=stream, parts=parts: parts.append(stream.read()), daemon=True)
            for stream, parts in outputs.items()
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return cast(
            "tuple[str, str]",
            tuple("".join(outputs[each]) if each is not None else "" for each in (self.stdout, self.stderr)),
        )


def popen(
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    module: str = "handler",
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Piped:
    """Start ``python -m module``; the streams are as ``subprocess.Popen`` takes them."""
    with ExitStack() as closed:
        ends = [_ends(wanted, mode, closed) for wanted, mode in ((stdin, "r"), (stdout, "w"), (stderr, "w"))]
        (its_input, _), (its_output, _), (its_errors, _) = ends
        program = forks.start(
            module,
            arguments,
            environment=environment,
            folder=folder,
            output=its_output,
            errors=its_errors,
            stdin=its_input,
        )
        return Piped(program, [ours for _, ours in ends])


def run(
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = ROOT,
    module: str = "handler",
    stdin: str = "",
    timeout: float = 60.0,
) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m module`` to its end. Raises ``subprocess.TimeoutExpired``."""
    with popen(
        *arguments, environment=environment, folder=folder, module=module, stdin=subprocess.PIPE
    ) as program:
        try:
            out, errors = program.communicate(stdin, timeout)
        except BaseException:
            program.kill()
            raise
    return subprocess.CompletedProcess([module, *arguments], program.wait(), out, errors)


def _ends(wanted: int, its_mode: str, closed: ExitStack) -> tuple[int, TextIO | None]:
    """Return the program's end of a stream, which is closed here later, and ours where it is a pipe."""
    if wanted == subprocess.DEVNULL:
        nowhere = os.open(os.devnull, os.O_RDWR)
        closed.callback(os.close, nowhere)
        return nowhere, None
    if wanted != subprocess.PIPE:
        return wanted, None
    reading, writing = os.pipe()
    its, ours = (reading, writing) if its_mode == "r" else (writing, reading)
    closed.callback(os.close, its)
    return its, os.fdopen(ours, "w" if its_mode == "r" else "r")
