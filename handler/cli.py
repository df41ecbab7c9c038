"""The command line ``snapshot-backup``. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from handler.commands import ledger, topology, waiting
from handler.commands.command import Command
from handler.commands.dead_letters.app import app as dead_letters
from handler.commands.doctor import doctor
from handler.commands.help import examples
from handler.commands.package import package
from handler.commands.plugins import PluginGroup
from handler.commands.publish import publish
from handler.commands.schemas import schemas
from handler.commands.settings import settings
from handler.commands.status import status
from handler.commands.watch import watch
from handler.commands.worker import worker

app = typer.Typer(
    name="snapshot-backup",
    cls=PluginGroup,
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


def _add(command: Callable[..., Any], *calls: str) -> None:
    app.command(cls=Command, epilog=examples(*calls))(command)


_add(worker, "worker", "worker 2>worker.log")
_add(
    status,
    """status \\
    b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8""",
    """status --json \\
    b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8""",
)
app.add_typer(waiting.app, name="waiting")
app.add_typer(topology.app, name="topology")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(ledger.app, name="ledger")
_add(
    publish,
    """publish \\
    --volume-id 0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40 \\
    --snapshot-id b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8 \\
    --project-id 8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5""",
    "publish --file events.jsonl",
)
_add(package, "package --out function.zip", "package --out function.zip \\\n    --with postgres")
_add(doctor, "doctor", "doctor --json")
_add(settings, "settings", "settings --json")
_add(watch, "watch", "watch --json --count 10")
_add(schemas, "schemas --out schemas")
