"""``snapshot-backup dead-letters``: lists, replays, exports and drops dead letters."""

import typer

from handler.commands.dead_letters.keeping import drop_command, export_command
from handler.commands.dead_letters.listing import list_command, show_command
from handler.commands.dead_letters.replay import replay_command

app = typer.Typer(
    no_args_is_help=True,
    help="Dead letters are messages that could not be handled: list, replay, export or drop them.",
    epilog="First `list` them and fix the cause; then `replay` with a filter, and `drop` the hopeless ones.",
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
