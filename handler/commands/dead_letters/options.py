"""Options shared by all commands on dead letters, and the filters and session made from them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from events.snapshot import canonical_project
from handler import bootstrap
from handler.commands.common import fail, failing_plainly
from handler.dead_letters.filters import Filters, moment
from handler.dead_letters.queue_session import QueueSession
from handler.settings import Settings, load_settings

T = TypeVar("T")

Ids = Annotated[list[str] | None, typer.Option("--id", help="ID as `list` shows it. Repeatable.")]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="Category, such as quota or denied. Repeatable.")
]
Codes = Annotated[
    list[str] | None, typer.Option("--code", help="Error code, such as VolumeBackup.0061. Repeatable.")
]
Projects = Annotated[list[str] | None, typer.Option("--project", help="Project ID. Repeatable.")]
Snapshots = Annotated[list[str] | None, typer.Option("--snapshot", help="Snapshot ID. Repeatable.")]
Since = Annotated[
    str | None,
    typer.Option(
        help="Dead-lettered at or after this time: 2026-11-23T22:00 (UTC), or an age: 90m, 12h, 3d."
    ),
]
Until = Annotated[str | None, typer.Option(help="Dead-lettered before this time; same forms as --since.")]
Limit = Annotated[int | None, typer.Option(min=0, help="At most this many, oldest first.")]


def filters(
    ids: list[str] | None,
    categories: list[str] | None,
    codes: list[str] | None,
    projects: list[str] | None,
    snapshots: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """Return the filters that the options give; a bad time exits 2."""
    return Filters(
        ids=frozenset(ids or ()),
        categories=frozenset(categories or ()),
        codes=frozenset(codes or ()),
        projects=frozenset(map(canonical_project, projects or ())),
        snapshots=frozenset(snapshots or ()),
        since=_moment("--since", since),
        until=_moment("--until", until),
    )


def _moment(option: str, text: str | None) -> datetime | None:
    try:
        return moment(text, now=datetime.now(UTC)) if text else None
    except ValueError as error:
        raise fail(f"{option}: {error}", code=2) from None


def run(work: Callable[[Settings], Coroutine[Any, Any, T]]) -> T:
    """Run a command's work with the loaded settings; errors are printed as one line."""
    with failing_plainly():
        return asyncio.run(work(load_settings()))


@asynccontextmanager
async def queue_session(settings: Settings) -> AsyncIterator[QueueSession]:
    """Connect to the broker and open a queue session."""
    async with await bootstrap.open_connection(settings) as connection:
        yield QueueSession(connection, bootstrap.topology(settings), _print_lock_wait)


def _print_lock_wait() -> None:
    print("another command is reading the dead letters; waiting until it ends", file=sys.stderr)
