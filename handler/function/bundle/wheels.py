"""Other people's packages, for the function's Python and platform whatever machine this is.

Versions and hashes come from the lock files beside this module; pip refuses what differs.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from handler.errors import SnapshotBackupError

EXTRAS = ("postgres",)
TARGET = (
    *("--platform", "manylinux2014_x86_64"),
    *("--python-version", "3.12"),
    *("--implementation", "cp"),
    *("--abi", "cp312"),
    *("--only-binary", ":all:"),
)
"""FunctionGraph's Python 3.12. Its glibc is not documented; 2.17, which this asks for, is older than any
that has this Python."""

_KEPT_METADATA = ("METADATA", "licenses", "LICENSE", "COPYING", "NOTICE")


class WheelsMissing(SnapshotBackupError):
    """pip is not there, or could not get a package."""


def lock_file(extras: frozenset[str]) -> Path:
    """Return the lock file of the bundle with these extras."""
    name = "-".join(["function", *sorted(extras)])
    return Path(__file__).with_name(f"{name}.lock")


def wheels(extras: frozenset[str]) -> Mapping[str, bytes]:
    """Return each file's path in the bundle and its content. Raises ``WheelsMissing``."""
    with tempfile.TemporaryDirectory() as folder:
        _install(lock_file(extras), folder)
        root = Path(folder)
        return {str(path.relative_to(root)): path.read_bytes() for path in _wanted(root)}


def _install(lock: Path, folder: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")
    checked = ("--no-deps", "--require-hashes", "--requirement", str(lock))
    command = [*_pip(), "install", *quiet, *TARGET, "--target", folder, *checked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise WheelsMissing(f"pip: {_last_error(done.stderr)}")


def _pip() -> Sequence[str]:
    """Return the command of this environment's pip, or of another: what it installs is for FunctionGraph."""
    if importlib.util.find_spec("pip"):
        return (sys.executable, "-m", "pip")
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return (found,)
    raise WheelsMissing(
        "pip is neither in this environment nor on the PATH: install it, such as apt-get install python3-pip"
    )


def _last_error(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR")] or text.splitlines()
    return lines[-1].removeprefix("ERROR: ") if lines else "it failed and printed nothing"


def _wanted(root: Path) -> Iterator[Path]:
    """Yield the files of packages; not their commands and tests, nor what only installers read."""
    for path in root.rglob("*"):
        top, *inner = path.relative_to(root).parts
        metadata = top.endswith(".dist-info") and not (inner and inner[0].startswith(_KEPT_METADATA))
        unwanted = metadata or top == "bin" or "tests" in inner or path.suffix == ".pyi"
        if path.is_file() and not unwanted:
            yield path
