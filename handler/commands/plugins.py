"""A command group that loads commands from entry points, each only when it is called or listed."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.main import get_command

from handler.commands.command import Command, Group
from handler.commands.common import fail

COMMANDS = "snapshot_backup.commands"
"""The entry point group of commands outside the handler, such as the emulator."""


class PluginGroup(Group):
    """The group of its own commands and those of the entry points.

    An entry point that cannot be imported is listed with the reason, and calling it prints that reason. The
    other commands keep working.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        own = super().list_commands(ctx)
        return [*own, *sorted(entry_points(group=COMMANDS).names - set(own))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, or None."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        return next(map(_command, entry_points(group=COMMANDS, name=cmd_name)), None)


def _command(entry: EntryPoint) -> Any:
    app = typer.Typer(add_completion=False)
    try:
        app.command(entry.name, cls=Command)(entry.load())
    except ImportError as error:
        app = _unavailable(entry, str(error).partition("\n")[0])
    return get_command(app)


def _unavailable(entry: EntryPoint, reason: str) -> typer.Typer:
    """Return a placeholder for a command that cannot be imported; it accepts any option and fails."""
    text = f"{entry.name}: not available: {reason}"
    app = typer.Typer(add_completion=False)

    @app.command(
        entry.name,
        cls=Command,
        help=f"Not available: {reason}.",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def unavailable() -> None:
        raise fail(text, code=2)

    return app
