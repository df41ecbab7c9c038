"""``snapshot-backup report``: what was backed up and what was not, by the ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from handler.commands.common import failing_plainly, print_json
from handler.commands.console import console
from handler.commands.opened_ledger import with_ledger
from handler.commands.values import checked, one_of, project
from handler.console.report import ReportRow, head, table, to_csv, total
from handler.dead_letters.filters import moment
from handler.ledger.inquiry import By
from handler.ledger.ledger import StoredLedger
from handler.printable import printable
from handler.settings import load_settings

_BY = ("project", "category", "hour")
_FORMATS = ("table", "json", "csv")


def _time(value: str) -> str:
    moment(value, now=datetime.now(UTC))
    return value


def report(
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            callback=checked(_time),
            help="Changed since this time, such as 2026-11-23T22:00, or within an age, such as 24h or 7d.",
        ),
    ] = "24h",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", callback=checked(_time), help="Changed before this time; same forms as --since."
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="GROUP", callback=checked(one_of(_BY, "group")), help="project, category or hour."
        ),
    ] = "project",
    project: Annotated[
        str | None, typer.Option(metavar="ID", callback=checked(project), help="Only of this project.")
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            callback=checked(one_of(_FORMATS, "format")),
            help="table, json or csv.",
        ),
    ] = "table",
) -> None:
    """Show what was backed up, and what was not.

    Each snapshot counts once, by where it stands now and the time of its last
    change: one that failed and was backed up later is backed up. Hours are UTC.
    The category is that of a failure.

    Reads the ledger that LEDGER_URL names. --format json prints a line for each
    group. In --format csv no text is a formula.
    """
    with failing_plainly():
        settings, now = load_settings(), datetime.now(UTC)
        begin, end = moment(since, now=now), moment(until, now=now) if until else None
        if end is not None and end <= begin:
            raise typer.BadParameter(f"{until} is not after --since {since}", param_hint="'--until'")
        group: By = "hour" if by == "hour" else "category" if by == "category" else "project"

        async def read(ledger: StoredLedger) -> Sequence[ReportRow]:
            found = await ledger.report(
                begin.timestamp(), end.timestamp() if end else None, by=group, project_id=project
            )
            return table(found, tracked=settings.track_backups)

        rows = with_ledger(settings, read, without="nothing is known of single snapshots")
    match output:
        case "json":
            for row in rows:
                print_json({**row._asdict(), "by": by})
        case "csv":
            print(to_csv(rows, group), end="", flush=True)
        case _:
            _print(rows, group)


def _print(rows: Sequence[ReportRow], by: By) -> None:
    if not rows:
        console().print("no snapshot has changed in this time")
        return
    lines = [
        [name.replace("_", " ") for name in head(by)],
        *(
            [printable(row.group) or "-", *(f"{number:,}" for number in row[1:])]
            for row in [*rows, total(rows)]
        ),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for name, *numbers in lines:
        cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
        console().print("  ".join([name.ljust(widths[0]), *cells]), soft_wrap=True, markup=False)
