"""Shared parts of all commands: options, output, confirmation and error messages."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from handler.commands.console import SafeConsole
from handler.errors import ExtraMissing, SettingsError, SnapshotBackupError
from handler.printable import printable
from handler.redaction import redacted

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for use by programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def console() -> SafeConsole:
    """Return the console for results: standard output, with colour only on a terminal."""
    return SafeConsole(highlight=False)


def progress_console() -> SafeConsole:
    """Return the console for progress: standard error, so that results can be piped."""
    return SafeConsole(stderr=True, highlight=False)


def fail(text: str, *, code: int = 1) -> typer.Exit:
    """Print an error line and return the exception that ends the command; the caller raises it."""
    warn(text)
    return typer.Exit(code)


def warn(text: str) -> None:
    """Print one line to standard error."""
    print(printable(redacted(text)), file=sys.stderr)


def confirm(question: str, *, yes: bool) -> None:
    """Ask the operator and return only if they agree; without a terminal to ask on, exit 2."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise fail(
            "nothing was done: no terminal to ask on; add --yes, or --dry-run to see what would be done",
            code=2,
        )
    if not typer.confirm(question, err=True):
        raise fail("nothing was done")


@contextmanager
def failing_plainly() -> Iterator[None]:
    """Print this program's errors as one line; exit 2 for settings and missing extras, else 1."""
    try:
        yield
    except ExtraMissing as error:
        raise fail(str(error), code=2) from None
    except SettingsError as error:
        raise fail(f"settings: {error}", code=2) from None
    except SnapshotBackupError as error:
        raise fail(f"failed: {error}") from None
