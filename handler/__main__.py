"""The console command's entry: says what is missing where the extra ``cli`` is not installed."""

import sys


def main() -> None:
    """Run ``snapshot-backup``."""
    try:
        from handler.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"the command line needs {error.name}: pip install 'snapshot-backup[cli]'")
    app()


if __name__ == "__main__":
    main()
