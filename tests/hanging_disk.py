"""A disk that hangs, for tests: a library keeps a program's ``fsync`` from returning while a file exists."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


class HangingDisk:
    """The disk of every program that is started with ``environment``."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            if os.environ.get("CI") == "true":
                pytest.fail("no C compiler is installed")
            pytest.skip("no C compiler is installed")
        self._file = folder / "disk-hangs"
        self._library = folder / "hanging_disk.so"
        command = [compiler, "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program is started with."""
        return {"LD_PRELOAD": str(self._library), "HANGING_DISK": str(self._file)}

    def hang(self) -> None:
        """Let no write reach the disk."""
        self._file.touch()

    def go_on(self) -> None:
        """Let the disk answer again."""
        self._file.unlink(missing_ok=True)
