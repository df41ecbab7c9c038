"""``snapshot-backup dead-letters``: lists, replays, exports and drops dead letters."""

from collections.abc import Callable
from typing import Any

import typer

from handler.commands.command import Command, Group
from handler.commands.dead_letters.keeping import drop_command, export_command
from handler.commands.dead_letters.listing import list_command, show_command
from handler.commands.dead_letters.replay import replay_command
from handler.commands.help import examples

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Dead letters are messages that could not be handled: list, replay, export or drop them.",
    epilog="First `list` them and fix the cause; then `replay` with a filter, and `drop` the hopeless ones.",
)


def _add(name: str, command: Callable[..., Any], *calls: str) -> None:
    text = examples(*(f"dead-letters {name} {call}".rstrip() for call in calls))
    app.command(name, cls=Command, epilog=text)(command)


_add("list", list_command, "--category quota", "--since 12h --json")
_add("show", show_command, "3f6c0d9a41b2")
_add("replay", replay_command, "--dry-run", "--category quota \\\n    --rate 50 --stop-at 20%")
_add("export", export_command, "--out friday.jsonl")
_add("drop", drop_command, "--category malformed \\\n    --out broken.jsonl")
