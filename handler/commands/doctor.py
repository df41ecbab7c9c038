"""``snapshot-backup doctor``."""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from handler.commands.common import AsJson, console, progress_console
from handler.doctor.examine import examine
from handler.doctor.findings import Finding, exit_code
from handler.telemetry import logs

_WIDTH = 100
_COLOURS = {"ok": "green", "warning": "yellow", "bad": "bold red"}


def doctor(
    declare: Annotated[
        bool, typer.Option("--declare", help="First make what is missing, as `topology declare` does.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check settings, broker, API and sign-in, ledger and clock; say what is wrong and how to mend it.

    Changes nothing, publishes nothing that anybody could receive, and signs in once. Exit 1 if anything would
    lose or block messages, 2 if the settings are unusable; warnings alone are 0.
    """
    logs.set_up("ERROR", None)
    with progress_console().status("looking…"):
        found = asyncio.run(examine(declare=declare))
    if as_json:
        print(
            json.dumps({"exit": exit_code(found), "findings": [dataclasses.asdict(each) for each in found]})
        )
    else:
        _print(found)
    raise typer.Exit(exit_code(found))


def _print(found: Sequence[Finding]) -> None:
    out = console()
    out.width = min(_WIDTH, out.width) if out.is_terminal else _WIDTH
    table = Table(box=SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("area", no_wrap=True)
    table.add_column("what", overflow="fold", max_width=26)
    table.add_column("state", no_wrap=True)
    table.add_column("found, and how to mend it", overflow="fold", ratio=1)
    for each in found:
        text = f"{each.text}\n→ {each.remedy}" if each.remedy else each.text
        state = Text(each.state, style=_COLOURS[each.state])
        table.add_row(Text(each.area), Text(each.what), state, Text(text))
    out.print(table)
    counts = {state: sum(each.state == state for each in found) for state in _COLOURS}
    out.print(", ".join(f"{number} {state}" for state, number in counts.items()))
