"""The root group: its own commands, and those of entry points, each imported only when it is needed."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.main import get_command

from handler.commands import catalogue
from handler.commands.command import Command, Group
from handler.commands.common import fail
from handler.streams import ending_at_interrupt

COMMANDS = "snapshot_backup.commands"
"""The entry point group of commands outside the handler, such as the emulator."""

_BY_HAND = 'add the completion by hand: eval "$(snapshot-backup --show-completion)" in your shell\'s own file'

_OWN = {each.name: each for each in catalogue.COMMANDS}


class RootGroup(Group):
    """The group of its own commands and those of the entry points.

    An entry point that cannot be imported is listed with the reason, and calling it prints that reason. The
    other commands keep working.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before a command; ``--install-completion`` may not be able to write its files."""
        try:
            return super().parse_args(ctx, args)
        except OSError as error:
            if error.filename is None:  # of standard output
                raise
            text = f"failed: {error.filename} cannot be written ({error.strerror}); {_BY_HAND}"
            raise fail(text) from None

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*_OWN, *sorted(entry_points(group=COMMANDS).names - set(_OWN))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name, or None."""
        if cmd_name in _OWN:
            return _OWN[cmd_name].load()
        return next(map(_command, entry_points(group=COMMANDS, name=cmd_name)), None)

    def summary(self, ctx: Any, name: str) -> str:
        """Return what its help says first; a command of its own is not imported for that."""
        return _OWN[name].summary if name in _OWN else super().summary(ctx, name)


def _command(entry: EntryPoint) -> Any:
    app = typer.Typer(add_completion=False)
    try:
        with ending_at_interrupt():
            found = entry.load()
        app.command(entry.name, cls=Command)(found)
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
