"""What all commands share: how they ask, how they fail, and how they print."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from handler.errors import ExtraMissing, SettingsError, SnapshotBackupError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]


def console() -> Console:
    """Return where results go: standard output, with colour only on a terminal."""
    return Console(highlight=False)


def progress_console() -> Console:
    """Return where progress goes: standard error, so that results can be piped."""
    return Console(stderr=True, highlight=False)


def fail(text: str, *, code: int = 1) -> typer.Exit:
    """Say in one line what is wrong; the caller raises what is returned."""
    print(text, file=sys.stderr)
    return typer.Exit(code)


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the operator agrees; where nobody can be asked, exit 2."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise fail("nobody can be asked here: say --yes, or --dry-run to see what would be done", code=2)
    if not typer.confirm(question, err=True):
        raise fail("nothing was done")


@contextmanager
def failing_plainly() -> Iterator[None]:
    """Turn our own errors into one line; exit 2 for settings and missing extras, 1 for the rest."""
    try:
        yield
    except ExtraMissing as error:
        raise fail(str(error), code=2) from None
    except SettingsError as error:
        raise fail(f"settings: {error}", code=2) from None
    except SnapshotBackupError as error:
        raise fail(f"failed: {error}") from None
