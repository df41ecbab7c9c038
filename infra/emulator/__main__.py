"""`python -m infra.emulator`."""

import typer

from infra.emulator.cli import EXAMPLES, command


def main() -> None:
    """Run the command on its own."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(help=EXAMPLES)(command)
    app()


if __name__ == "__main__":
    main()
