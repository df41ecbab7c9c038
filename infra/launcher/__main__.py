"""Put the program's folders on the path and run it: ``snapshot-backup`` and ``python -m snapshot_backup``."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def folder() -> Path:
    """Return the folder that holds ``events``, ``handler`` and ``infra``: the wheel's, or the checkout."""
    installed = HERE / "app"
    return installed if installed.is_dir() else HERE.parents[1]


def main() -> None:
    """Run ``snapshot-backup``."""
    # First, because another distribution may own one of the names: Events, of opensearch-py, owns ``events``.
    sys.path.insert(0, str(folder()))
    from handler import streams

    with streams.ending_at_interrupt():
        from handler.__main__ import main as run
    run()


if __name__ == "__main__":
    main()
