"""``snapshot-backup waiting``: which messages wait, why, and until when, by the ledger."""

from typing import Annotated, get_args

import typer

from events.message import WaitReason
from handler.commands.command import Command, Group
from handler.commands.common import AsJson, fail, failing_plainly, print_json
from handler.commands.console import console
from handler.commands.help import examples
from handler.commands.opened_ledger import with_ledger
from handler.console.standing import waiting_document
from handler.ledger.inquiry import WaitingFilter, WaitingList
from handler.printable import printable
from handler.settings import load_settings

_REASONS = get_args(WaitReason)
_COLUMNS = ("due", "reason", "waits", "project_id", "snapshot_id")
_HEAD = ("due", "reason", "delays", "project", "snapshot")

app = typer.Typer(cls=Group, no_args_is_help=True, help="Show the messages that wait.")


@app.callback()
def _waiting() -> None:
    """Keep ``list`` a subcommand; Typer would merge a single command into its group."""


@app.command("list", cls=Command, epilog=examples("waiting list", "waiting list --reason lookup --json"))
def list_command(
    project: Annotated[str | None, typer.Option(metavar="ID", help="Only of this project.")] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help=f"Only for this reason: {', '.join(_REASONS)}.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the messages that wait, those that are due first.

    Reads the ledger that LEDGER_URL names; no message at the broker is touched.
    A message that is due stays listed until it has been handled. --json prints a
    line for each message.

    Reasons: retry (this event is tried again), lookup (a request may have worked,
    and is looked up), track (the backup is in progress), publish (no queue takes
    the outcome), check (the event is checked at the API), room (as many backups
    are in progress as MAX_RUNNING allows), pause (the API, the sign-in or the
    ledger is down, or another message has the snapshot), paused (an operator has
    paused the queue or the project).
    """
    if reason is not None and reason not in _REASONS:
        raise fail(f"--reason {reason}: unknown; use one of {', '.join(_REASONS)}", code=2)
    with failing_plainly():
        which = WaitingFilter(limit, project, reason)
        found = with_ledger(
            load_settings(),
            lambda ledger: ledger.list_waiting(which),
            without="no waiting message is recorded",
        )
    if as_json:
        for each in found.records:
            print_json(waiting_document(each))
    else:
        _print(found)


def _print(found: WaitingList) -> None:
    if not found.total:
        console().print("no message waits")
        return
    documents = [waiting_document(each) for each in found.records]
    rows = [_HEAD, *([printable(str(each[name] or "-")) for name in _COLUMNS] for each in documents)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console().print(line.rstrip(), soft_wrap=True, markup=False)
    left = found.total - len(found.records)
    overdue = sum(each.due_at < found.as_of for each in found.records)
    console().print(
        f"{found.total:,} wait"
        + (f", {left:,} not shown (--limit)" if left else "")
        + f", {overdue:,} of these are due"
    )
