"""The text of ``--help``: plain, at most 80 columns wide, and with nothing broken that one would copy."""

import re
from collections.abc import Sequence
from typing import Any

import typer

_HYPHEN, _KEPT = "-", "\N{NON-BREAKING HYPHEN}"

_TYPE = re.compile(r" <[^<>]+>$")
_NUMBER = r"(-?\d[\d.]*)"
_BOUNDS = (
    (re.compile(rf"\b{_NUMBER}<=x<={_NUMBER}(?=\]$)"), r"from \1 to \2"),
    (re.compile(rf"\bx>={_NUMBER}(?=\]$)"), r"at least \1"),
)
"""Typer's notation of bounds at the end of an option's help, and what to write instead."""

Formatter: Any = typer.Context.formatter_class
"""Typer's formatter, which wraps texts; it has no public name."""


class HelpFormatter(Formatter):  # type: ignore[misc] # a class without a public name
    """A formatter that breaks lines at spaces only: not within ``--older-than`` or an id."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line: what is required is as it is typed, without Typer's braces."""
        super().write_usage(prog, _kept(args.replace("{", "").replace("}", "")), prefix)

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(_kept(text))

    def write_dl(self, rows: Sequence[tuple[str, str]], *args: Any, **options: Any) -> None:
        """Write rows of two columns, such as options and their meanings: words, no Python types."""
        plain = [(_TYPE.sub("", first), _kept(_plain(second))) for first, second in rows]
        super().write_dl(plain, *args, **options)

    def getvalue(self) -> str:
        """Return the whole text."""
        return str(super().getvalue()).replace(_KEPT, _HYPHEN)


def _plain(text: str) -> str:
    for pattern, words in _BOUNDS:
        text = pattern.sub(words, text)
    return text


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
