"""A program of ours as a process of its own, whose lines are read as they come."""

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
    """A program has ended that should not have; the message has the end of what it said."""


@dataclass
class Child:
    """A running `python -m …`; it ends with us, whatever ends us."""

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
        """Start it in `folder`; of the project's settings it sees those given, and no others."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            cwd=folder,
            env=clean_environment() | dict(settings or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for us: we end them in order
            limit=LINE_LIMIT,
        )
        guardian.watch(process.pid)
        child = cls(name, process, on_line, guardian)
        child.ended = asyncio.create_task(child._read())
        return child

    def __post_init__(self) -> None:
        self.ended: asyncio.Task[None]

    async def _read(self) -> None:
        """Read its lines until it has ended."""
        if (lines := self.process.stdout) is not None:
            async for line in lines:
                text = line.decode(errors="replace").rstrip()
                self.tail.append(text)
                self.on_line(text)
        await self.process.wait()
        self.guardian.forget(self.process.pid)

    def failure(self) -> ChildEnded:
        """Tell that it has ended, and its last words."""
        words = "\n".join(f"  {line}" for line in self.tail) or "  (nothing)"
        return ChildEnded(
            f"the {self.name} ended with code {self.process.returncode}; its last lines:\n{words}"
        )

    async def says(self, answer: "asyncio.Future[T]") -> T:
        """Wait for what its lines are to tell.

        Raises:
            ChildEnded: it ended first.
            TimeoutError: it said nothing of the kind in a minute.
        """
        ends: set[asyncio.Future[Any]] = {answer, self.ended}
        await asyncio.wait(ends, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if self.ended.done():
            raise self.failure()
        raise TimeoutError(f"the {self.name} is not ready after {START_SECONDS:.0f} s")

    async def stop(self, seconds: float) -> None:
        """End it with SIGTERM, or after `seconds` with SIGKILL."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        await asyncio.wait({self.ended}, timeout=seconds)
        if not self.ended.done():
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.ended


def clean_environment() -> dict[str, str]:
    """The shell's environment without settings of the project, and with the project on the path."""
    own = {*Settings.model_fields, "secrets_dir"}
    outside = {name: value for name, value in os.environ.items() if name.lower() not in own}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return outside | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
