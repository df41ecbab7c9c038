"""``snapshot-backup ledger``: look after the ledger."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from handler.commands.common import (
    AsJson,
    DryRun,
    Yes,
    confirm,
    console,
    fail,
    failing_plainly,
    progress_console,
)
from handler.errors import SettingsError
from handler.ledger.ledger import StoredLedger
from handler.ledger.pruning import Prunable
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import RETAINED, Settings, in_digits, load_settings

T = TypeVar("T")

_DAY = 86_400.0

app = typer.Typer(no_args_is_help=True, help="Look after the ledger.")


@app.callback()
def _ledger() -> None:
    """Keep the command's name where there is only one."""


@app.command("prune", epilog="Example: snapshot-backup ledger prune --older-than 30 --dry-run")
def prune(
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Days since the backup ended (default: LEDGER_RETENTION).")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Allow fewer days than a message can still come in: see above."),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget snapshots whose backup ended long ago.

    An event about a forgotten snapshot makes a second backup, whether it is delivered, published or replayed
    again. So this command shows what it would forget, and asks. It refuses days fewer than MAX_AGE +
    TRACK_DEADLINE + the longest delay of WAIT_LADDER, in which a message may still be waiting.

    Snapshots without an end are kept for 30 days at least. A worker does this by itself every hour, by
    LEDGER_RETENTION.
    """
    with failing_plainly():
        settings = load_settings()
        seconds = _days(settings, older_than, force=force) * _DAY
        found = _run(settings, lambda ledger: ledger.prunable(seconds))
        if dry_run:
            _show_plan(found, as_json=as_json)
            return
        if found.total and not yes:
            progress_console().print(_plan(found), soft_wrap=True)
            confirm(f"Forget {_snapshots(found.total)} for good?", yes=yes)
        # A connection of its own: the operator may have thought for longer than a server keeps one.
        pruned = _run(settings, lambda ledger: ledger.prune(seconds, as_of=found.as_of))
    if as_json:
        print(json.dumps({"pruned": pruned}))
    else:
        console().print(f"forgot {_snapshots(pruned)}")


def _days(settings: Settings, older_than: float | None, *, force: bool) -> float:
    """Return the age that was asked for; too small a one, or none at all, exits 2."""
    days = settings.ledger_retention if older_than is None else older_than
    if math.isnan(days):
        raise fail("--older-than: must be a number of days, such as 30", code=2)
    if days < settings.shortest_retention and not force:
        least = in_digits(settings.shortest_retention)
        raise fail(
            f"--older-than {days:g}: refused, since it is less than {RETAINED}: a message that comes later "
            f"makes a second backup. The least is --older-than {least}; --force overrules this",
            code=2,
        )
    return days


def _run(settings: Settings, work: Callable[[StoredLedger], Awaitable[T]]) -> T:
    """Open the ledger, work with it, and close it. Raises ``SettingsError`` where there is none."""
    url = settings.ledger_url.get_secret_value()
    if url == "none":
        raise SettingsError("LEDGER_URL: is none, so that there is nothing to prune")
    if url.startswith("sqlite:") and not (path := sqlite_path(url)).exists():
        raise SettingsError(f"LEDGER_URL: names {path}, which is not on this machine")

    async def opened() -> T:
        ledger = open_ledger(url, lease_seconds=settings.lease_seconds)
        try:
            return await work(ledger)
        finally:
            await ledger.aclose()

    return asyncio.run(opened())


def _show_plan(found: Prunable, *, as_json: bool) -> None:
    if not as_json:
        console().print(_plan(found), soft_wrap=True)
        return
    document = {
        "would_prune": found.total,
        "without_end": found.without_end,
        "oldest": _time(found.oldest),
        "youngest": _time(found.youngest),
    }
    print(json.dumps(document))


def _plan(found: Prunable) -> str:
    """Return what would be forgotten, in a line."""
    if not found.total:
        return "no snapshot is old enough to be forgotten"
    ends = f", {found.without_end:,} of them without an end" if found.without_end else ""
    return (
        f"{_snapshots(found.total)} would be forgotten{ends}; "
        f"last written: the oldest {_time(found.oldest)}, the youngest {_time(found.youngest)}"
    )


def _snapshots(number: int) -> str:
    return f"{number:,} snapshot{'' if number == 1 else 's'}"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
