"""The entry of the console command; without the extra ``cli`` it says what to install."""

import sys

from handler.errors import ExtraMissing
from handler.extras import needing
from handler.redaction import install_excepthook


def main() -> None:
    """Run ``snapshot-backup``."""
    install_excepthook()
    try:
        with needing("cli", "rich", "typer"):
            from handler.cli import app
    except ExtraMissing as error:
        print(f"snapshot-backup: {error}", file=sys.stderr)
        sys.exit(2)
    app()


if __name__ == "__main__":
    main()
