"""The modules' bytecode: what a new instance would have to compile first, each time anew.

An instance begins with the files of the ZIP, and what it compiles is gone with it. Compiling takes twice as
long as all the rest of a cold start (figures in tests/bench/README.md).

Bytecode is of one version of Python, so it is made by the runtime's, if there is one on this machine: the one
that runs this, or ``python3.12`` on the path.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from handler.errors import SnapshotBackupError

TAG = "cpython-312"

# Arguments: the folder, and how the bytecode is checked. The names of files in it are relative and sorted, so
# that it is the same wherever and whenever it is made.
_COMPILE = """
import os, py_compile, sys
from importlib.util import cache_from_source
os.chdir(sys.argv[1])
mode = py_compile.PycInvalidationMode[sys.argv[2]]
for name in sys.stdin.read().split("\\n"):
    try:
        py_compile.compile(name, cache_from_source(name), doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError as error:
        sys.exit(f"{name}: {error.exc_value}")
"""


class NotCompiled(SnapshotBackupError):
    """A module cannot be compiled."""


def compiler() -> str | None:
    """Return a Python of the runtime's version; None where there is none."""
    candidates = (sys.executable, shutil.which("python3.12"))
    return next((each for each in candidates if each and _tag(each) == TAG), None)


def _tag(python: str) -> str:
    command = [python, "-I", "-S", "-c", "import sys; print(sys.implementation.cache_tag)"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def compiled(python: str, files: Mapping[str, bytes], *, editable: bool) -> Mapping[str, bytes]:
    """Return the bytecode of each module among ``files`` by its path. Raises ``NotCompiled``.

    What is ``editable`` on the platform is compiled again there once it was changed. Of others' packages the
    source is not even read, which is 3 % of a cold start.
    """
    names = sorted(name for name in files if name.endswith(".py"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        _compile(python, folder, names, "CHECKED_HASH" if editable else "UNCHECKED_HASH")
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.pyc")}


def _compile(python: str, folder: str, names: list[str], mode: str) -> None:
    # Nothing of this shell's Python may change what is written; the order within sets is part of it.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603 - our own words
        [python, "-S", "-P", "-c", _COMPILE, folder, mode],
        input="\n".join(names),
        env=outside | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotCompiled(f"{python}: {(done.stderr.splitlines() or ['it failed and printed nothing'])[-1]}")
