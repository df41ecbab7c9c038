"""The options that all commands on dead letters share, and what they are made into."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from handler import bootstrap
from handler.commands.common import fail, failing_plainly
from handler.dead_letters.filters import Filters, moment
from handler.dead_letters.queue_session import QueueSession
from handler.settings import Settings, load_settings

T = TypeVar("T")

Ids = Annotated[list[str] | None, typer.Option("--id", help="The ID that `list` shows. May be repeated.")]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="Such as quota or denied. May be repeated.")
]
Codes = Annotated[list[str] | None, typer.Option("--code", help="The error's code. May be repeated.")]
Projects = Annotated[list[str] | None, typer.Option("--project", help="Project ID. May be repeated.")]
Snapshots = Annotated[list[str] | None, typer.Option("--snapshot", help="Snapshot ID. May be repeated.")]
Since = Annotated[
    str | None, typer.Option(help="Died at or after: 2026-11-23T22:00 (UTC), or 90m, 12h, 3d ago.")
]
Until = Annotated[str | None, typer.Option(help="Died before; written as --since.")]
Limit = Annotated[int | None, typer.Option(min=0, help="At most so many, the oldest first.")]


def filters(
    ids: list[str] | None,
    categories: list[str] | None,
    codes: list[str] | None,
    projects: list[str] | None,
    snapshots: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """Make the filters of the options; a bad time exits 2."""
    return Filters(
        ids=frozenset(ids or ()),
        categories=frozenset(categories or ()),
        codes=frozenset(codes or ()),
        projects=frozenset(projects or ()),
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
    """Run a command's work with the settings; what goes wrong is one line."""
    with failing_plainly():
        return asyncio.run(work(load_settings()))


@asynccontextmanager
async def queue_session(settings: Settings) -> AsyncIterator[QueueSession]:
    """Connect, and sit down at the dead letters."""
    async with await bootstrap.open_connection(settings) as connection:
        yield QueueSession(connection, bootstrap.topology(settings), _print_lock_wait)


def _print_lock_wait() -> None:
    print("another operator has the dead letters in hand; waiting for them", file=sys.stderr)
