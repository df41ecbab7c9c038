"""Shared parts of all commands: options, JSON, confirmation and error messages."""

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Annotated, Any

import typer

from handler.errors import AccessRefused, ExtraMissing, SettingsError, SnapshotBackupError
from handler.printable import printable
from handler.redaction import redacted

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for use by programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def print_json(document: object) -> None:
    """Print a JSON document on one line."""
    print(to_json(document), flush=True)


def to_json(document: object) -> str:
    """Return JSON on one line. It is ASCII, for any terminal and pipe; NaN, which JSON lacks, is a text."""
    try:
        return json.dumps(document, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(document), default=str)


def _without_nan(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {key: _without_nan(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_nan(each) for each in value]
        case _:
            return value


def fail(text: str, *, code: int = 1) -> typer.Exit:
    """Print an error line and return the exception that ends the command; the caller raises it."""
    warn(text)
    return typer.Exit(code)


def warn(text: str) -> None:
    """Print one line to standard error."""
    print(printable(redacted(text)), file=sys.stderr)


async def confirm(question: str, *, yes: bool) -> None:
    """Ask the operator and return only if they agree; without a terminal to ask on, exit 2.

    While they think, the connection to the broker is kept, and Ctrl-C ends the command.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise fail(
            "nothing was done: no terminal to ask on; add --yes, or --dry-run to see what would be done",
            code=2,
        )
    print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
    await until_readable(sys.stdin)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise fail("nothing was done")


async def until_readable(stream: IO[Any]) -> None:
    """Wait until a terminal or a pipe has something to read, or its end; a file always has."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(stream.fileno(), readable.set)
    except PermissionError:  # the system waits for no file
        return
    try:
        await readable.wait()
    finally:
        loop.remove_reader(stream.fileno())


@contextmanager
def failing_plainly() -> Iterator[None]:
    """Print this program's errors as one line; exit 2 for settings and missing extras, else 1."""
    try:
        yield
    except ExtraMissing as error:
        raise fail(str(error), code=2) from None
    except (SettingsError, AccessRefused) as error:
        raise fail(f"settings: {error}", code=2) from None
    except SnapshotBackupError as error:
        raise fail(f"failed: {error}") from None
