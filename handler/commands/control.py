"""``snapshot-backup pause``, ``resume`` and ``concurrency``: for all workers of the queue."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import typer

from handler.backup.control import Control
from handler.commands.audited import audited
from handler.commands.common import AsJson, failing_plainly, print_json, warn
from handler.commands.console import console, working
from handler.commands.opened_ledger import with_ledger
from handler.commands.suggestions import did_you_mean
from handler.commands.values import checked, project
from handler.commands.waiting import with_waits
from handler.console import control as controls
from handler.console.orders import described
from handler.console.waiting import Retried, Waits, Which, retry_now
from handler.errors import BrokerError, LedgerUnavailable
from handler.ledger.inquiry import WaitingFilter
from handler.ledger.ledger import StoredLedger
from handler.printable import printable
from handler.settings import Settings, load_settings

_MOST = 2000
_DEFAULT = "default"
_WITHOUT = "workers cannot be paused, resumed or changed by a command; stop them instead"

Project = Annotated[
    str | None,
    typer.Option(metavar="ID", callback=checked(project), help="Only this project (default: all events)."),
]


def pause(
    project: Project = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why: the log, /readyz and doctor show it.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Pause all workers and functions of the queue, or one project.

    They begin no backup within 5 seconds: new events wait in the broker, with the
    reason "paused", count no attempt and do not grow older. Requests that are
    under way end, and backups in progress are tracked on. The pause is kept in
    the ledger that LEDGER_URL names, until resume.
    """
    _change(
        as_json,
        "pause",
        {"project": project, "reason": reason},
        lambda ledger, queue: controls.pause(ledger, queue, project=project, reason=reason),
    )


def resume(project: Project = None, as_json: AsJson = False) -> None:
    """End the pause of the queue, or of one project, and bring back what waits.

    A project that was paused by itself stays paused when the queue is resumed.
    """
    _change(
        as_json,
        "resume",
        {"project": project},
        lambda ledger, queue: controls.resume(ledger, queue, project=project),
    )
    with failing_plainly():
        _bring_back(load_settings(), project)


def _bring_back(settings: Settings, project: str | None) -> None:
    """Bring back what waits for the end of the pause, once workers know of it; else it comes by itself."""
    which = WaitingFilter(0, project, "paused")
    found = with_ledger(settings, lambda ledger: ledger.list_waiting(which), without=_WITHOUT)
    if not found.total:
        return

    async def work(waits: Waits) -> Retried:
        await asyncio.sleep(controls.NOTICED_SECONDS)
        return await retry_now(waits, Which(None, project, "paused"))

    try:
        with working(f"{found.total:,} messages come back to the queue"):
            with_waits(settings, work)
    except (BrokerError, LedgerUnavailable) as error:
        warn(f"resumed; what waits comes back within 10 minutes, since it could not be brought back: {error}")


def concurrency(
    number: Annotated[
        str,
        typer.Argument(
            metavar="N",
            autocompletion=lambda: [_DEFAULT],
            help="From 1 to 2000, or default: each worker's CONCURRENCY.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Set how many messages each worker of the queue has in hand at once.

    It goes before the setting CONCURRENCY until it is set to default.
    """
    if number != _DEFAULT and not (number.isascii() and number.isdecimal() and 1 <= int(number) <= _MOST):
        meant = did_you_mean(number, [_DEFAULT])
        raise typer.BadParameter(
            f"{number!r} is neither a number from 1 to {_MOST} nor {_DEFAULT}.{meant}", param_hint="'N'"
        )
    wanted = None if number == _DEFAULT else int(number)
    _change(
        as_json,
        "concurrency",
        {"number": number},
        lambda ledger, queue: controls.set_concurrency(ledger, queue, wanted),
    )


def _change(
    as_json: bool,
    what: str,
    asked: Mapping[str, object],
    change: Callable[[StoredLedger, str], Awaitable[Control]],
) -> None:
    """Make a change in the ledger, which its audit journal has too, and print what holds now."""
    with failing_plainly():
        settings = load_settings()
        queue = settings.snapshot_queue

        async def work(ledger: StoredLedger) -> Control:
            async with audited(ledger, queue, what, described(asked)):
                return await change(ledger, queue)

        found = with_ledger(settings, work, without=_WITHOUT)
    if as_json:
        print_json(controls.document(found))
        return
    for line in lines(found, queue):
        console().print(printable(line), soft_wrap=True, markup=False)


def lines(control: Control, queue: str) -> list[str]:
    """Return what is set for a queue, for the operator."""
    pauses = [("all events wait", control.queue)] if control.queue else []
    pauses += [(f"events of project {name} wait", each) for name, each in control.projects.items()]
    found = [f"{what}: {each.reason or 'no reason given'}" for what, each in pauses]
    found = found or [f"no event of {queue} is paused"]
    if control.concurrency:
        found.append(f"each worker has up to {control.concurrency} messages in hand")
    return [*found, f"every worker of {queue} acts on it within {controls.NOTICED_SECONDS} seconds"]
