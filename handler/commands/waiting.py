"""``snapshot-backup waiting``: which messages wait, and why; brings them back, or cancels them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar, get_args

import typer

from events.message import WaitReason
from handler.broker.routes import BIND
from handler.commands.audited import audited
from handler.commands.command import Command, Group
from handler.commands.common import AsJson, Yes, confirm, fail, failing_plainly, print_json
from handler.commands.console import console
from handler.commands.help import examples
from handler.commands.opened_ledger import with_ledger
from handler.commands.values import checked, project
from handler.console.asked import snapshot
from handler.console.orders import described
from handler.console.standing import waiting_document
from handler.console.waiting import Cancelled, Retried, Waits, Which, cancel, opened_waits, retry_now, texts
from handler.ledger.inquiry import WaitingFilter, WaitingList
from handler.ledger.ledger import StoredLedger
from handler.printable import printable
from handler.settings import Settings, load_settings

T = TypeVar("T")

_COLUMNS = ("due", "reason", "waits", "project_id", "snapshot_id")
_HEAD = ("due", "reason", "delays", "project", "snapshot")

_WITHOUT = "no waiting message is recorded"

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Show the messages that wait, bring them back, or cancel them.",
)

Project = Annotated[
    str | None,
    typer.Option(metavar="ID", callback=checked(project), help="Only of this project (default: of any)."),
]


@app.command("list", cls=Command, epilog=examples("waiting list", "waiting list --reason lookup --json"))
def list_command(
    project: Project = None,
    reason: Annotated[
        WaitReason | None,
        typer.Option(metavar="REASON", help=f"Only for this reason: {', '.join(get_args(WaitReason))}."),
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
    with failing_plainly():
        which = WaitingFilter(limit, project, reason)
        found = with_ledger(
            load_settings(),
            lambda ledger: ledger.list_waiting(which),
            without=_WITHOUT,
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
    if any(each.reason == "publish" for each in found.records):
        text = f"outcomes (publish) follow within seconds once a queue is bound for them: {BIND}"
        console().print(text, soft_wrap=True, markup=False)


@app.command(
    "retry-now",
    cls=Command,
    epilog=examples("waiting retry-now --reason paused", "waiting retry-now --all"),
)
def retry_now_command(
    snapshot_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="SNAPSHOT_ID", callback=checked(snapshot), help="UUIDs of the snapshots."),
    ] = None,
    project: Project = None,
    reason: Annotated[
        WaitReason | None,
        typer.Option(metavar="REASON", help="What waits for this reason; see waiting list."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that waits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring waiting messages back to the queue at once.

    A worker then handles them as if their delay had passed. What keeps them
    waiting keeps doing so: a pause, a missing queue for outcomes, a full
    MAX_RUNNING, or a call in doubt whose next lookup is not due yet. What is due
    within 5 seconds comes back by itself.
    """
    if bool(snapshot_ids) + bool(reason) + everything != 1:
        raise fail("name snapshots, or --reason, or --all: one of the three", code=2)
    which = Which(snapshot_ids or None, project, reason)
    asked = {"snapshots": snapshot_ids, "project": project, "reason": reason}

    async def work(waits: Waits) -> Retried:
        async with audited(waits.ledger, waits.queue, "retry now", described(asked)) as act:
            done = await retry_now(waits, which)
            act.number = done.returned
            return done

    with failing_plainly():
        done = with_waits(load_settings(), work)
    if as_json:
        print_json(done._asdict())
        return
    console().print(f"{done.returned:,} brought back")
    if done.unreadable:
        console().print(
            f"{done.unreadable:,} left: no key of ours has signed them; set the workers' STATE_KEYS"
        )


@app.command(
    "cancel",
    cls=Command,
    epilog=examples("waiting cancel \\\n    b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"),
)
def cancel_command(
    snapshot_ids: Annotated[
        list[str],
        typer.Argument(metavar="SNAPSHOT_ID", callback=checked(snapshot), help="UUIDs of the snapshots."),
    ],
    project: Project = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End the waiting messages of snapshots as cancelled.

    Each event ends as backup.failed with the category cancelled, and its message
    becomes a dead letter, which can be replayed. A backup that the API makes
    already cannot be taken back: then nothing is cancelled, and its end is
    published. If a request may have worked, the outcome says so.

    Exit code: 0 all are cancelled, 1 some are not.
    """
    wanted = list(dict.fromkeys(snapshot_ids))

    async def work(waits: Waits) -> Sequence[Cancelled]:
        await confirm(f"cancel what waits of {len(wanted)} snapshots?", yes=yes)
        asked = {"snapshots": wanted, "project": project}
        async with audited(waits.ledger, waits.queue, "cancel", described(asked)) as act:
            done = [each for name in wanted for each in await cancel(waits, name, project=project)]
            act.number, act.outcome = sum(each.is_cancelled for each in done), texts(done)
            return done

    with failing_plainly():
        done = with_waits(load_settings(), work)
    for each in done:
        if as_json:
            print_json({**each._asdict(), "cancelled": each.is_cancelled})
        else:
            console().print(printable(f"{each.snapshot_id}: {each.text}"), soft_wrap=True, markup=False)
    if not all(each.is_cancelled for each in done):
        raise typer.Exit(1)


def with_waits(settings: Settings, work: Callable[[Waits], Awaitable[T]]) -> T:
    """Run work on the workers' ledger and broker. Raises ``BrokerError`` and what ``with_ledger`` raises."""

    async def opened(ledger: StoredLedger) -> T:
        async with opened_waits(settings, ledger) as waits:
            return await work(waits)

    return with_ledger(settings, opened, without=_WITHOUT)
