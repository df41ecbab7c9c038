"""The command line ``snapshot-backup``. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

from importlib.metadata import version
from typing import Annotated

import typer

from handler.commands.help import examples
from handler.commands.plugins import RootGroup

app = typer.Typer(
    name="snapshot-backup",
    cls=RootGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn snapshot-completed events into backups: one backup per snapshot, one outcome event per event.",
    epilog="Settings are environment variables: snapshot-backup settings lists them.\n\n"
    + examples("doctor", "dead-letters list --help"),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer hands it over so
    if wanted:
        print(f"snapshot-backup {version('snapshot-backup')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options before a command."""
