"""The command line ``snapshot-backup``. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

from importlib.metadata import version
from typing import Annotated

import typer

from handler.commands import ledger, topology
from handler.commands.dead_letters.app import app as dead_letters
from handler.commands.doctor import doctor
from handler.commands.package import package
from handler.commands.plugins import PluginGroup
from handler.commands.publish import publish
from handler.commands.schemas import schemas
from handler.commands.watch import watch
from handler.commands.worker import worker

app = typer.Typer(
    name="snapshot-backup",
    cls=PluginGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Turn snapshot-completed events into backups: one backup per snapshot, one outcome event per event.",
    epilog="handler/README.md lists the settings (environment variables). First: snapshot-backup doctor",
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


app.command(epilog="Example: VBS_ENDPOINT=https://vbs.region.example.com snapshot-backup worker")(worker)
app.add_typer(topology.app, name="topology")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(ledger.app, name="ledger")
app.command(
    epilog="Example: snapshot-backup publish --volume-id 0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40 "
    "--snapshot-id b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8 --project-id 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
)(publish)
app.command(epilog="Example: snapshot-backup package --out function.zip")(package)
app.command(epilog="Example: snapshot-backup doctor --json")(doctor)
app.command(epilog="Example: snapshot-backup watch --json --count 10")(watch)
app.command(epilog="Example: snapshot-backup schemas --out schemas")(schemas)
