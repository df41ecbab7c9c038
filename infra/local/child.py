"""A program of this project as a child process, whose output is read line by line."""

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from handler.settings import Settings
from infra.local.guardian import Guardian

ROOT: Final = Path(__file__).parents[2]
TAIL: Final = 15
LINE_LIMIT: Final = 1 << 20
START_SECONDS: Final = 60.0

T = TypeVar("T")


class ChildEnded(RuntimeError):
    """A program has ended unexpectedly; the message has its last lines of output."""


@dataclass
class Child:
    """A child process that runs `python -m …`; the guardian ends it even if this process is killed."""

    name: str
    process: asyncio.subprocess.Process
    on_line: Callable[[str], None]
    guardian: Guardian
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    @classmethod
    async def start(
        cls,
        name: str,
        arguments: Sequence[str],
        *,
        guardian: Guardian,
        folder: Path,
        on_line: Callable[[str], None],
        settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Start the program in `folder`, with `settings` and no other settings of the project."""
        process = await asyncio.create_subprocess_exec(
            *guardian.announced([sys.executable, "-m", *arguments]),
            cwd=folder,
            env=clean_environment() | dict(settings or {}),
            stdin=guardian.pipe,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only the parent, which stops all in order
            limit=LINE_LIMIT,
        )
        child = cls(name, process, on_line, guardian)
        child.ended = asyncio.create_task(child._read())
        return child

    def __post_init__(self) -> None:
        self.ended: asyncio.Task[None]

    async def _read(self) -> None:
        """Read the program's lines until it has ended."""
        if (lines := self.process.stdout) is not None:
            async for line in lines:
                text = line.decode(errors="replace").rstrip()
                self.tail.append(text)
                self.on_line(text)
        await self.process.wait()
        self.guardian.forget(self.process.pid)

    def failure(self) -> ChildEnded:
        """Return the error for a program that has ended, with its last lines of output."""
        lines = "\n".join(f"  {line}" for line in self.tail) or "  (nothing)"
        return ChildEnded(
            f"the {self.name} ended with code {self.process.returncode}; its last lines:\n{lines}"
        )

    async def says(self, answer: "asyncio.Future[T]") -> T:
        """Wait for a future that is set by one of the program's lines.

        Raises:
            ChildEnded: the program ended first.
            TimeoutError: the line did not come within a minute.
        """
        ends: set[asyncio.Future[Any]] = {answer, self.ended}
        await asyncio.wait(ends, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if self.ended.done():
            raise self.failure()
        raise TimeoutError(f"the {self.name} is not ready after {START_SECONDS:.0f} s")

    async def stop(self, seconds: float) -> None:
        """Stop the program with SIGTERM, and after `seconds` with SIGKILL."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        await asyncio.wait({self.ended}, timeout=seconds)
        if not self.ended.done():
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.ended


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of the project, and with the project on the path."""
    own = {*Settings.model_fields, "secrets_dir"}
    outside = {name: value for name, value in os.environ.items() if name.lower() not in own}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return outside | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
