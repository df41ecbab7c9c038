"""``snapshot-backup dead-letters``: see them, choose, send them back, keep them, throw them away."""

import typer

from handler.commands.dead_letters.keeping import drop_command, export_command
from handler.commands.dead_letters.listing import list_command, show_command
from handler.commands.dead_letters.replay import replay_command

app = typer.Typer(
    no_args_is_help=True,
    help="See what could not be handled and why; send it back, keep it in a file, or throw it away.",
    epilog="First `list`; mend the cause; `replay` with its filter; `drop` what can never work.",
)
app.command("list", epilog="Example: snapshot-backup dead-letters list --category quota --since 12h")(
    list_command
)
app.command("show", epilog="Example: snapshot-backup dead-letters show 3f6c0d9a41b2")(show_command)
app.command(
    "replay", epilog="Example: snapshot-backup dead-letters replay --category quota --rate 50 --stop-at 20%"
)(replay_command)
app.command("export", epilog="Example: snapshot-backup dead-letters export --out friday.jsonl --since 1d")(
    export_command
)
app.command(
    "drop", epilog="Example: snapshot-backup dead-letters drop --category malformed --out broken.jsonl"
)(drop_command)
