"""``snapshot-backup doctor``: checks everything that a worker needs, and prints the findings."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from handler.commands.common import AsJson, print_json
from handler.commands.console import console, working
from handler.doctor.examine import examine
from handler.doctor.findings import Finding, exit_code
from handler.printable import printable
from handler.redaction import redacted
from handler.telemetry import logs

_WIDTH = 100
_COLOURS = {"ok": "green", "warning": "yellow", "bad": "bold red"}


def doctor(
    declare: Annotated[
        bool,
        typer.Option(
            "--declare",
            help="First declare missing exchanges, queues and bindings, as `topology declare` does.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check settings, broker, API, sign-in, ledger and clock; show what is wrong and how to fix it.

    Without --declare it changes nothing. It publishes nothing that a consumer
    could receive, and signs in once.

    Exit codes: 0 all is well, or warnings only; 1 something would lose or block
    messages; 2 the settings are unusable.
    """
    logs.set_up("ERROR", None)
    with working("checking…"):
        found = [_without_secrets(each) for each in asyncio.run(examine(declare=declare))]
    if as_json:
        print_json({"exit": exit_code(found), "findings": [dataclasses.asdict(each) for each in found]})
    else:
        _print(found)
    raise typer.Exit(exit_code(found))


def _without_secrets(finding: Finding) -> Finding:
    return dataclasses.replace(finding, text=redacted(finding.text), remedy=redacted(finding.remedy))


def _print(found: Sequence[Finding]) -> None:
    out = console()
    out.width = min(_WIDTH, out.width) if out.is_terminal else _WIDTH
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("area", no_wrap=True)
    table.add_column("what", overflow="fold", max_width=26)
    table.add_column("state", no_wrap=True)
    table.add_column("found, and how to fix it", overflow="fold", ratio=1)
    for each in found:
        text = printable(f"{each.text}\n→ {each.remedy}" if each.remedy else each.text, keep="\n")
        state = Text(each.state, style=_COLOURS[each.state])
        table.add_row(Text(each.area), Text(printable(each.what)), state, Text(text))
    out.print(table)
    counts = {state: sum(each.state == state for each in found) for state in _COLOURS}
    out.print(", ".join(f"{number} {state}" for state, number in counts.items()))
