"""``snapshot-backup report``: what was backed up and what was not, by the ledger."""

from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from handler.commands.common import AsJson, failing_plainly, print_json
from handler.commands.console import console
from handler.commands.opened_ledger import with_ledger
from handler.commands.values import checked, period, project, time_or_age
from handler.console.report import ReportRow, head, table, to_csv, total
from handler.ledger.inquiry import By
from handler.ledger.ledger import StoredLedger
from handler.printable import printable
from handler.settings import load_settings

Format = Literal["table", "json", "csv"]


def report(
    since: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            callback=checked(time_or_age),
            help="Changed at or after this time: 2026-11-23T22:00 (UTC), or an age: 90m, 24h, 7d.",
        ),
    ] = "24h",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            callback=checked(time_or_age),
            help="Changed before this time; same forms as --since.",
        ),
    ] = None,
    by: Annotated[
        By, typer.Option(metavar="GROUP", help="A line for each project, category or hour.")
    ] = "project",
    project: Annotated[
        str | None, typer.Option(metavar="ID", callback=checked(project), help="Only of this project.")
    ] = None,
    output: Annotated[
        Format | None,
        typer.Option("--format", metavar="FORMAT", help="table (default), json (the same as --json) or csv."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was backed up, and what was not.

    Each snapshot counts once, by where it stands now and the time of its last
    change: one that failed and was backed up later is backed up. Hours are UTC.
    The category is that of a failure.

    Reads the ledger that LEDGER_URL names. --json prints a line for each group.
    In --format csv no text is a formula.
    """
    begin, end = period(since, until)
    written = _format(output, as_json=as_json)
    with failing_plainly():
        settings = load_settings()

        async def read(ledger: StoredLedger) -> Sequence[ReportRow]:
            found = await ledger.report(
                begin.timestamp() if begin else 0.0,
                end.timestamp() if end else None,
                by=by,
                project_id=project,
            )
            return table(found, tracked=settings.track_backups)

        rows = with_ledger(settings, read, without="nothing is known of single snapshots")
    match written:
        case "json":
            for row in rows:
                print_json({**row._asdict(), "by": by})
        case "csv":
            print(to_csv(rows, by), end="", flush=True)
        case "table":
            _print(rows, by)


def _format(output: Format | None, *, as_json: bool) -> Format:
    """Return the format that both options give; two different ones are a usage error."""
    if not as_json:
        return output or "table"
    if output in (None, "json"):
        return "json"
    raise typer.BadParameter(
        f"{output} is not JSON; give --format {output} or --json", param_hint="'--format'"
    )


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
