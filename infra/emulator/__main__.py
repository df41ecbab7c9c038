"""`python -m infra.emulator`."""

import typer

from infra.emulator.cli import command


def main() -> None:
    """Run the command on its own."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


if __name__ == "__main__":
    main()
