"""`python -m infra.emulator`."""

import sys

from handler.errors import ExtraMissing
from handler.extras import needing


def main() -> None:
    """Run the emulator's command as a program of its own."""
    try:
        with needing("cli", "rich", "typer"):
            import typer

            from handler.commands.command import Command
            from infra.emulator.cli import command
    except ExtraMissing as error:
        print(f"emulator: {error}", file=sys.stderr)
        sys.exit(2)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(command)
    app()


if __name__ == "__main__":
    main()
