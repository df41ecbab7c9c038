"""``snapshot-backup topology``: make, or print, the broker's side."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from handler import bootstrap
from handler.broker.declaration import Declaration, Made, make
from handler.broker.topology import Binding, Exchange, Part, Queue, Topology
from handler.commands.common import AsJson, console, failing_plainly
from handler.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Make, or print, the broker's side. Never deletes.")

_FOREIGN = "foreign: bound, never declared"


@app.command(
    "declare", epilog="Example: AMQP_URL=amqp://user:password@host/ snapshot-backup topology declare"
)
def declare_command(as_json: AsJson = False) -> None:
    """Declare every exchange, queue and binding; what exists already is left as it is.

    The exchanges of SNAPSHOT_BINDINGS are somebody else's: they are bound, never declared. What is published
    to such an exchange before it is bound is lost to us, so run this before the first snapshot is taken. Each
    binding that could not be made is named, and the exit code is 1.
    """
    with failing_plainly():
        settings = load_settings()
        topology = bootstrap.topology(settings)
        declaration = asyncio.run(_declare(settings, topology))
    if as_json:
        print(json.dumps(_document(topology, declaration)))
    else:
        console().print(_table(topology, declaration))
    for problem in _problems(declaration):
        print(problem, file=sys.stderr)
    if not declaration.complete:
        raise typer.Exit(1)


@app.command("show", epilog="Example: snapshot-backup topology show --json")
def show_command(as_json: AsJson = False) -> None:
    """Print what `declare` makes, without a connection; what is somebody else's is marked as foreign."""
    with failing_plainly():
        topology = bootstrap.topology(load_settings())
    if as_json:
        print(json.dumps(_document(topology)))
    else:
        console().print(_table(topology))


async def _declare(settings: Settings, topology: Topology) -> Declaration:
    async with await bootstrap.open_connection(settings) as connection:
        return await make(connection, topology)


def _problems(declaration: Declaration) -> Sequence[str]:
    """Return a line for each thing that went wrong."""
    if declaration.refused:
        return [f"failed: {declaration.refused}"]
    return [
        f"not bound: {made.part}: {made.problem}; what is published there until it is bound is lost to us"
        for made in declaration.unbound
    ]


def _table(topology: Topology, declaration: Declaration | None = None) -> Table:
    table = Table(title=f"The broker's side of {topology.queue}", title_justify="left")
    columns = ("kind", "name", "details", *(["made"] if declaration else []))
    for column in columns:
        table.add_column(column, overflow="fold")
    foreign = list(topology.foreign_exchanges())
    for name in foreign:
        _add(table, "exchange", name, _FOREIGN)
    for made in _parts(topology, declaration):
        _add(table, *_cells(made.part, foreign), *(_state(made) if declaration else ()))
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row; a name with brackets is no markup."""
    table.add_row(*map(Text, cells))


def _cells(part: Part, foreign: Sequence[str]) -> tuple[str, str, str]:
    match part:
        case Exchange(name, type_):
            return "exchange", name, type_
        case Queue(name, arguments):
            return "queue", name, "\n".join(f"{key}={value}" for key, value in arguments.items())
        case Binding(source, destination, key, to_exchange):
            details = f"to the {'exchange' if to_exchange else 'queue'}{f' for {key}' if key else ''}"
            mark = " (foreign)" if source in foreign else ""
            return "binding", f"{source} → {destination}", details + mark


def _state(made: Made) -> tuple[str]:
    return (f"no: {made.problem}" if made.problem else "yes",)


def _document(topology: Topology, declaration: Declaration | None = None) -> dict[str, object]:
    """Return the parts by their kinds; those that a declaration tried say whether they were made."""
    foreign = list(topology.foreign_exchanges())

    def made_parts(kind: type[Part]) -> list[dict[str, Any]]:
        return [
            made.part._asdict()
            | ({"foreign": made.part.source in foreign} if isinstance(made.part, Binding) else {})
            | ({"made": made.problem is None, "problem": made.problem} if declaration else {})
            for made in _parts(topology, declaration)
            if isinstance(made.part, kind)
        ]

    return {
        "exchanges": made_parts(Exchange),
        "foreign_exchanges": foreign,
        "queues": made_parts(Queue),
        "bindings": made_parts(Binding),
    }


def _parts(topology: Topology, declaration: Declaration | None) -> Sequence[Made]:
    """Return all that is declared or bound, and what became of it where that was tried."""
    if declaration:
        return [*declaration.ours, *declaration.foreign]
    return [Made(part) for part in (*topology.ours(), *topology.foreign_bindings())]
