"""Facts about a folder's disk: file system, free space, rights.

On a dead network file system a call may never return. So each question runs on a daemon thread, which does
not keep the program from ending.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_MOUNTS = Path("/proc/self/mounts")


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder, the type of its file system (empty if unknown), and its free bytes."""

    folder: Path
    exists: bool
    writable: bool = False
    kind: str = ""
    free: int = 0


def disk_of(folder: Path) -> Disk:
    """Return the facts about a folder's disk."""
    if not folder.is_dir():
        return Disk(folder, exists=False)
    space = os.statvfs(folder)
    lines = _MOUNTS.read_text(errors="replace").splitlines() if _MOUNTS.exists() else []
    return Disk(
        folder,
        exists=True,
        writable=os.access(folder, os.W_OK | os.X_OK) and not space.f_flag & os.ST_RDONLY,
        kind=kind_of(folder.resolve(), lines),
        free=space.f_bavail * space.f_frsize,
    )


def kind_of(folder: Path, mounts: Iterable[str]) -> str:
    """Return the type of a folder's file system; ``mounts`` are lines of ``/proc/mounts``."""
    kind, depth = "", -1
    for line in mounts:
        _, point, found, *_ = (*line.split(" "), "", "", "")
        mount = Path(point.encode().decode("unicode_escape"))
        # A later mount on the same path hides the earlier ones.
        if folder.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = found, len(mount.parts)
    return kind


async def in_time(question: Callable[[], T]) -> T:
    """Run a blocking question on a daemon thread. Raises its ``OSError``."""
    loop = asyncio.get_running_loop()
    answer: Future[T] = Future()

    def run() -> None:
        # Without this an answer after Ctrl-C, which has cancelled the future, would be a traceback.
        if not answer.set_running_or_notify_cancel():
            return
        try:
            answer.set_result(question())
        except OSError as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="doctor-disk", daemon=True).start()
    return await asyncio.wrap_future(answer, loop=loop)
