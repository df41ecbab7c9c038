"""``snapshot-backup ledger``: maintains the ledger."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from handler.commands.audited import audited
from handler.commands.command import Command, Group
from handler.commands.common import AsJson, DryRun, Yes, confirm, fail, failing_plainly, print_json
from handler.commands.console import console, progress_console
from handler.commands.help import examples
from handler.commands.opened_ledger import with_ledger
from handler.commands.values import checked, finite
from handler.ledger.ledger import StoredLedger
from handler.ledger.pruning import Prunable
from handler.settings import RETAINED, Settings, in_digits, load_settings

_DAY = 86_400.0
_WITHOUT = "there is nothing to prune"

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Maintain the ledger, the store of which snapshots have their backup.",
)


@app.callback()
def _ledger() -> None:
    """Keep ``prune`` a subcommand; Typer would merge a single command into its group."""


@app.command(
    "prune", cls=Command, epilog=examples("ledger prune --dry-run", "ledger prune --older-than 30 --yes")
)
def prune(
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            min=0,
            callback=checked(finite),
            help="Days since the backup's final outcome (default: LEDGER_RETENTION).",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Allow fewer days than a message can wait, at the risk of a second backup."
        ),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete ledger entries of snapshots whose backup had its final outcome long ago.

    If another event about such a snapshot arrives later, its backup is looked up
    at the API, and a second one is made if the API does not show the first. So
    the command shows what it would delete, and asks. A message may wait for
    MAX_AGE + TRACK_DEADLINE + the longest delay of WAIT_LADDER; fewer days than
    that are refused.

    Entries without a final outcome are kept for at least 30 days. Each worker
    also prunes every hour, by LEDGER_RETENTION.
    """
    with failing_plainly():
        settings = load_settings()
        seconds = _days(settings, older_than, force=force) * _DAY
        found = with_ledger(settings, lambda ledger: ledger.prunable(seconds), without=_WITHOUT)
        if dry_run:
            _show_plan(found, as_json=as_json)
            return
        if found.total and not yes:
            progress_console().print(_plan(found), soft_wrap=True)
            asyncio.run(confirm(f"Delete the entries of {_snapshots(found.total)} for good?", yes=yes))
        # A new connection: the server may have closed an idle one while the operator was deciding.
        pruned = with_ledger(
            settings, lambda ledger: _prune(ledger, settings, seconds, found.as_of), without=_WITHOUT
        )
    if as_json:
        print_json({"pruned": pruned})
    else:
        console().print(f"deleted the entries of {_snapshots(pruned)}")


async def _prune(ledger: StoredLedger, settings: Settings, seconds: float, as_of: float) -> int:
    """Delete the entries, and record the act."""
    about = f"older than {seconds / _DAY:g} days"
    async with audited(ledger, settings.snapshot_queue, "prune", about) as act:
        act.number = await ledger.prune(seconds, as_of=as_of)
        return act.number


def _days(settings: Settings, older_than: float | None, *, force: bool) -> float:
    """Return the age in days; an age that is too small exits 2."""
    days = settings.ledger_retention if older_than is None else older_than
    if days < settings.shortest_retention and not force:
        least = in_digits(settings.shortest_retention)
        raise fail(
            f"--older-than {days:g}: refused, less than {RETAINED}: a message that arrives later could make "
            f"a second backup. Use at least --older-than {least}, or --force to delete nevertheless",
            code=2,
        )
    return days


def _show_plan(found: Prunable, *, as_json: bool) -> None:
    if not as_json:
        console().print(_plan(found), soft_wrap=True)
        return
    print_json(
        {
            "would_prune": found.total,
            "without_end": found.without_end,
            "oldest": _time(found.oldest),
            "youngest": _time(found.youngest),
        }
    )


def _plan(found: Prunable) -> str:
    """Return a line that says what would be deleted."""
    if not found.total:
        return "no entry is old enough to be deleted"
    ends = f", {found.without_end:,} of them without a final outcome" if found.without_end else ""
    return (
        f"the entries of {_snapshots(found.total)} would be deleted{ends}; "
        f"last written between {_time(found.oldest)} and {_time(found.youngest)}"
    )


def _snapshots(number: int) -> str:
    return f"{number:,} snapshot{'' if number == 1 else 's'}"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
