"""Options shared by all commands on dead letters, and the filters and session made from them."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from handler import bootstrap
from handler.commands.common import failing_plainly
from handler.commands.values import checked, not_empty, one_of, period, project, resource_id, time_or_age
from handler.console.orders import LISTS, described
from handler.dead_letters.dead_letter import CATEGORIES
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import QueueSession
from handler.settings import Settings, load_settings

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{12}")


def dead_letter_id(value: str) -> str:
    """Return the ID of a dead letter, as ``list`` shows it."""
    if not _ID.fullmatch(value.lower()):
        raise ValueError(f"{value!r} is not an ID of 12 hex digits, as `dead-letters list` shows it")
    return value.lower()


Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id", metavar="ID", callback=checked(dead_letter_id), help="ID as `list` shows it. Repeatable."
    ),
]
Categories = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        metavar="CATEGORY",
        callback=checked(one_of(CATEGORIES, "category")),
        autocompletion=lambda: list(CATEGORIES),
        help="Category, such as quota or denied. Repeatable.",
    ),
]
Codes = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        metavar="CODE",
        callback=checked(not_empty),
        help="Error code, such as VolumeBackup.0061. Repeatable.",
    ),
]
Projects = Annotated[
    list[str] | None,
    typer.Option("--project", metavar="ID", callback=checked(project), help="Project ID. Repeatable."),
]
Snapshots = Annotated[
    list[str] | None,
    typer.Option(
        "--snapshot", metavar="UUID", callback=checked(resource_id), help="Snapshot ID. Repeatable."
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        callback=checked(time_or_age),
        help="Dead-lettered at or after this time: 2026-11-23T22:00 (UTC), or an age: 90m, 12h, 3d.",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        callback=checked(time_or_age),
        help="Dead-lettered before this time; same forms as --since.",
    ),
]
Limit = Annotated[int | None, typer.Option(metavar="N", min=0, help="At most this many, oldest first.")]


def filters(
    ids: list[str] | None,
    categories: list[str] | None,
    codes: list[str] | None,
    projects: list[str] | None,
    snapshots: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """Return the filters that the options give; times between which nothing can be are wrong usage."""
    begin, end = period(since, until)
    return Filters(
        ids=frozenset(ids or ()),
        categories=frozenset(categories or ()),
        codes=frozenset(codes or ()),
        projects=frozenset(projects or ()),
        snapshots=frozenset(snapshots or ()),
        since=begin,
        until=end,
    )


def about(filters: Filters, limit: int | None, source: Path | None = None) -> str:
    """Return in few words what an act is about, for the audit journal."""
    asked: dict[str, object] = {name: sorted(getattr(filters, name)) for name in LISTS}
    asked |= {name: at.isoformat() for name in ("since", "until") if (at := getattr(filters, name))}
    return described({**asked, "limit": limit, "from": source})


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
