"""Put the program's folders on the path and run it: ``snapshot-backup`` and ``python -m snapshot_backup``.

An installation that cannot work is one line: it may lack dependencies, or be another Python's, as a folder of
``pip install --target`` on ``PYTHONPATH`` may. So this file keeps to what older Pythons can read.
"""

import sys
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
OURS = ("events", "handler", "infra")


def folder() -> Path:
    """Return the folder that holds ``events``, ``handler`` and ``infra``: the wheel's, or the checkout."""
    installed = HERE / "app"
    return installed if installed.is_dir() else HERE.parents[1]


def main() -> None:
    """Run ``snapshot-backup``."""
    if sys.version_info < (3, 11):  # noqa: UP036 - no installer has looked at the Python that uses a folder
        _end(f"Python 3.11 or later is needed, and this is {_this_python()}")
    # First, because another distribution may own one of the names: Events, of opensearch-py, owns ``events``.
    sys.path.insert(0, str(folder()))
    try:
        _run()
    except ImportError as error:
        name = error.name or ""
        if not name or name.partition(".")[0] in OURS:
            raise
        _end(incomplete(name))


def _run() -> None:
    from handler import streams

    with streams.ending_at_interrupt():
        from handler.__main__ import main as run
    run()


def incomplete(name: str) -> str:
    """Say why a module that is not ours cannot be imported, and what to do."""
    package, _, inner = name.partition(".")
    if package in sys.stdlib_module_names:
        return f"this Python has no module {package}: use another Python than {_this_python()}"
    if inner:
        return f"{package} is not made for {_this_python()}: install snapshot-backup again, with this Python"
    return f"{package} is not installed: install snapshot-backup again, with its dependencies (no --no-deps)"


def _this_python() -> str:
    return f"{sys.executable} ({sys.version.split()[0]})"


def _end(why: str) -> NoReturn:
    print(f"snapshot-backup: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
