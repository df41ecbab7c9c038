"""The text of ``--help``: plain, at most 80 columns wide, and with nothing broken that one would copy."""

from collections.abc import Sequence
from typing import Any

import typer

_HYPHEN, _KEPT = "-", "\N{NON-BREAKING HYPHEN}"

Formatter: Any = typer.Context.formatter_class
"""Typer's formatter, which wraps texts; it has no public name."""


class HelpFormatter(Formatter):  # type: ignore[misc] # a class without a public name
    """A formatter that breaks lines at spaces only: not within ``--older-than`` or an id."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line."""
        super().write_usage(prog, _kept(args), prefix)

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(_kept(text))

    def write_dl(self, rows: Sequence[tuple[str, str]], *args: Any, **options: Any) -> None:
        """Write rows of two columns, such as options and their meanings."""
        super().write_dl([(first, _kept(second)) for first, second in rows], *args, **options)

    def getvalue(self) -> str:
        """Return the whole text."""
        return str(super().getvalue()).replace(_KEPT, _HYPHEN)


def _kept(text: str) -> str:
    return text.replace(_HYPHEN, _KEPT)


class HelpContext(typer.Context):
    """The context of every command: it formats the help."""

    formatter_class = HelpFormatter


def examples(*commands: str) -> str:
    """Return the end of a help text: an example a line, as it can be copied; ``\\`` breaks a long one."""
    lines = [line for command in commands for line in f"snapshot-backup {command}".splitlines()]
    title = "Example:" if len(commands) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])
