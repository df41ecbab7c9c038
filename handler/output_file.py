"""Output files: written beside their name, which they get once they are whole.

A failure leaves no file, and a file of that name as it was.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

_ANYONE = 0o666
"""The mode before the process's umask."""


class OutputFile:
    """A file that is open for writing, and has another name until ``create`` or ``replace``.

    All methods raise ``OSError``, except ``close``, which removes a file that got no name.
    """

    def __init__(self, path: Path, *, mode: int = _ANYONE) -> None:
        self._path = path
        self._beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._has_name = False
        number = os.open(self._beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        self.stream: IO[bytes] = os.fdopen(number, "wb")

    def create(self) -> None:
        """Write everything to disk (fsync), and give the file its name, which no file may have yet."""
        self._sync()
        if self._has_name:
            return
        # A name that is created exclusively is ours; a rename alone would overwrite another program's file.
        os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._rename()

    def replace(self) -> None:
        """Write everything to disk (fsync), and put the file in the place of one with its name."""
        self._sync()
        self._rename()

    def close(self) -> None:
        """Close the file; what was written after ``create`` and ``replace`` may be lost."""
        with suppress(OSError):  # the disk may be full
            self.stream.close()
        if not self._has_name:
            with suppress(OSError):
                self._beside.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _sync(self) -> None:
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def _rename(self) -> None:
        self._beside.replace(self._path)
        self._has_name = True
        folder = os.open(self._path.parent, os.O_RDONLY)
        with suppress(OSError):  # some file systems do not write folders
            os.fsync(folder)
        os.close(folder)


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole; one that exists is replaced and keeps its mode. Raises ``OSError``."""
    if path.exists() and not path.is_file():  # a pipe, or a device
        path.write_bytes(content)
        return
    target = path.resolve()  # a symbolic link stays one
    with OutputFile(target) as file:
        file.stream.write(content)
        if target.exists():
            os.fchmod(file.stream.fileno(), stat.S_IMODE(target.stat().st_mode))
        file.replace()
