"""Commands and groups of the command line, with plain help and with suggestions in usage errors."""

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from handler.commands.help import HelpContext
from handler.commands.suggestions import did_you_mean, question

_ASKED_FOR = {"help": "--help", "version": "--version"}
"""What other programs have as commands, and this one as options."""

_OF_OTHERS = {
    "--format": ("--json",),
    "-j": ("--json",),
    "-n": ("--limit", "--count"),
    "-o": ("--out",),
    "--output": ("--out", "--json"),
    "-f": ("--file", "--from"),
}
"""What other programs have as options, and what these are called here."""

_NOT_ONE = re.compile(r"Value error, ('.*') is not one of ('.*')\.")
_QUOTED = re.compile(r"'([^']*)'")
_PLAIN = (
    (re.compile("^Input should be greater than or equal to "), "must be at least "),
    (re.compile("^Input should be less than or equal to "), "must be at most "),
    (re.compile("^Input should be a valid integer.*"), "must be a whole number, such as 10"),
    (re.compile("^Input should be a valid number.*"), "must be a number, such as 10"),
)
"""Pydantic's messages, and what to say to the operator at a command line."""


class Command(TyperCommand):
    """A command."""

    context_class = HelpContext

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"rich_markup_mode": None})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; a usage error suggests what was meant."""
        with _suggesting(ctx, list(args)):
            return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group of commands."""

    context_class = HelpContext

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"rich_markup_mode": None, "suggest_commands": False})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments before a command; a usage error suggests what was meant."""
        with _suggesting(ctx, list(args)):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first argument names; an unknown one is a usage error."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            meant = question(self._meant(ctx, name)) or did_you_mean(name, self.list_commands(ctx))
            ctx.fail(f"No such command: {name}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a line or more for each command: the first paragraph of its help, in full."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])

    def summary(self, ctx: Any, name: str) -> str:
        """Return the first paragraph of a command's help."""
        command: Any = self.get_command(ctx, name)
        return " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())

    def _meant(self, ctx: Any, name: str) -> Iterator[str]:
        """Yield what surely was meant: an option of ours, or a command of one of our groups."""
        if name in _ASKED_FOR and ctx.parent is None:
            yield _ASKED_FOR[name]
        for group in self.list_commands(ctx):
            if name in getattr(self.get_command(ctx, group), "commands", ()):
                yield f"{group} {name}"


@contextmanager
def _suggesting(ctx: Any, args: list[str]) -> Iterator[None]:
    """Add to a usage error what was meant."""
    try:
        yield
    except typer.BadParameter as error:
        error.message = _of_value(error.message)
        raise
    except Exception as error:
        # Typer has no public name for the error of an unknown option.
        if hasattr(error, "possibilities"):
            error.possibilities = None
            error.message = _of_option(ctx, error.option_name, args)  # type: ignore[attr-defined]
        raise


def _of_value(message: str) -> str:
    """Return the message of a wrong value in plain words, with values of a closed set that are like it."""
    if found := _NOT_ONE.fullmatch(message):
        possible = _QUOTED.findall(found[2])
        return f"{found[1]} is not one of {', '.join(possible)}.{did_you_mean(found[1], possible)}"
    for pattern, plain in _PLAIN:
        message = pattern.sub(plain, message)
    return message


def _of_option(ctx: Any, unknown: str, args: Sequence[str]) -> str:
    """Return the message of an unknown option."""
    options = [option for parameter in ctx.command.get_params(ctx) for option in parameter.opts]
    for arg in args:
        name = arg.partition("=")[0]
        if f"-{name}" in options:  # -help: parsed as -h, -e, …
            return f"No such option: {name}. Did you mean -{name}?"
    same = question(option for option in _OF_OTHERS.get(unknown, ()) if option in options)
    return (
        f"No such option: {unknown}.{_placed(ctx, unknown, args) or same or did_you_mean(unknown, options)}"
    )


def _placed(ctx: Any, option: str, args: Sequence[str]) -> str:
    """Return where an option can stand that does not belong to this command."""
    root = ctx.find_root()
    if ctx is not root and any(option in parameter.opts for parameter in root.command.params):
        return f" It stands alone: {root.command_path} {option}"
    names = ctx.command.list_commands(ctx) if isinstance(ctx.command, Group) else ()
    taking = [
        name
        for name in names
        if any(option in parameter.opts for parameter in ctx.command.get_command(ctx, name).params)
    ]
    for name in sorted(taking, key=lambda name: name not in args):
        return f" Options of a command come after it: {ctx.command_path} {name} {option}"
    return ""
