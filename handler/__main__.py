"""The console command's entry: says what to install where the extra ``cli`` is not installed."""

import sys

from handler.errors import ExtraMissing
from handler.extras import needing


def main() -> None:
    """Run ``snapshot-backup``."""
    try:
        with needing("cli", "rich", "typer"):
            from handler.cli import app
    except ExtraMissing as error:
        print(f"snapshot-backup: {error}", file=sys.stderr)
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
