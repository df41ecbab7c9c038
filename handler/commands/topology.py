"""``snapshot-backup topology``: declares or shows exchanges, queues and bindings."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from handler import bootstrap
from handler.broker.declaration import Declaration, Made, make
from handler.broker.outcomes_queue import wrong_name
from handler.broker.topology import Binding, Exchange, Part, Queue, Topology
from handler.commands.command import Command, Group
from handler.commands.common import AsJson, console, fail, failing_plainly, print_json, warn
from handler.commands.help import examples
from handler.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Declare or show the exchanges, queues and bindings at the broker. Never deletes.",
)

OutcomesQueue = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Also a queue for outcomes: the name of one, such as outcomes."),
]

_FOREIGN = "foreign: bound, never declared"


@app.command(
    "declare",
    cls=Command,
    epilog=examples("topology declare", "topology declare --outcomes-queue outcomes"),
)
def declare_command(as_json: AsJson = False, outcomes_queue: OutcomesQueue = None) -> None:
    """Declare every exchange, queue and binding; existing ones stay as they are.

    --outcomes-queue also makes a durable queue for outcomes, and binds it to
    RESULT_EXCHANGE for all of them (backup.*). Without any queue bound there,
    outcomes wait. Repeat it as often as you like: an existing queue stays.

    Exchanges of SNAPSHOT_BINDINGS belong to another system: they are bound, never
    declared. Events that are published there before the binding exists never
    reach the queue. So run this before the first snapshot is taken.

    Each binding that could not be made is named, and the exit code is 1.
    """
    with failing_plainly():
        settings = load_settings()
        topology = _topology(settings, outcomes_queue)
        declaration = asyncio.run(_declare(settings, topology))
    if as_json:
        print_json(_document(topology, declaration))
    else:
        console().print(_table(topology, declaration))
    for problem in _problems(declaration):
        warn(problem)
    if not declaration.complete:
        raise typer.Exit(1)


@app.command("show", cls=Command, epilog=examples("topology show", "topology show --json"))
def show_command(as_json: AsJson = False, outcomes_queue: OutcomesQueue = None) -> None:
    """Show what `declare` would declare, without a connection to the broker.

    Exchanges of another system are marked as foreign.
    """
    with failing_plainly():
        topology = _topology(load_settings(), outcomes_queue)
    if as_json:
        print_json(_document(topology))
    else:
        console().print(_table(topology))


def _topology(settings: Settings, outcomes_queue: str | None) -> Topology:
    """Return the topology, with a queue for outcomes where one is wanted. Exits where its name is wrong."""
    topology = bootstrap.topology(settings)
    if outcomes_queue is None:
        return topology
    if problem := wrong_name(topology, outcomes_queue):
        raise fail(f"--outcomes-queue: {problem}, such as --outcomes-queue outcomes", code=2)
    return topology._replace(outcomes_queue=outcomes_queue)


async def _declare(settings: Settings, topology: Topology) -> Declaration:
    async with await bootstrap.open_connection(settings) as connection:
        return await make(connection, topology)


def _problems(declaration: Declaration) -> Sequence[str]:
    """Return a line for each part that could not be made."""
    if declaration.refused:
        return [f"failed: {declaration.refused}"]
    return [
        f"not bound: {made.part}: {made.problem}; events published there until it is bound are lost"
        for made in declaration.unbound
    ]


def _table(topology: Topology, declaration: Declaration | None = None) -> Table:
    table = Table(title=f"Topology of {topology.queue}", title_justify="left")
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
    """Add a row; brackets in a name are not markup."""
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
    """Return the parts by kind; after a declaration, each says whether it was made."""
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
    """Return all parts; after a declaration, with the problem of each that could not be made."""
    if declaration:
        return [*declaration.ours, *declaration.foreign]
    return [Made(part) for part in (*topology.ours(), *topology.foreign_bindings())]
