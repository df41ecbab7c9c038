"""``snapshot-backup topology``: declares or shows exchanges, queues and bindings."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from handler import bootstrap
from handler.broker.declaration import Declaration, Made, make
from handler.broker.outcomes_queue import wrong_name
from handler.broker.topology import Binding, Exchange, Part, Queue, Topology
from handler.commands.command import Command, Group
from handler.commands.common import AsJson, fail, failing_plainly, print_json, warn
from handler.commands.console import console
from handler.commands.help import examples
from handler.printable import printable
from handler.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
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
    epilog=examples("topology declare", "topology declare \\\n    --outcomes-queue outcomes"),
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
        _print(topology, declaration)
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
        _print(topology)


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


def _print(topology: Topology, declaration: Declaration | None = None) -> None:
    """Print a line for each part, and one for each argument of a queue: no name is broken or cut."""
    out = console()
    head = ("made", "kind", "name") if declaration else ("kind", "name")
    rows = [head, *_rows(topology, declaration)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    out.print(Text(f"Topology of {printable(topology.queue)}\n"), soft_wrap=True)
    for row in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        out.print(Text(f"{start}  {printable(row[-1])}", style="bold" if row is head else ""), soft_wrap=True)


def _rows(topology: Topology, declaration: Declaration | None) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line."""
    foreign = list(topology.foreign_exchanges())
    for name in foreign:
        yield (*(("",) if declaration else ()), "exchange", f"{name} ({_FOREIGN})")
    for made in _parts(topology, declaration):
        state = ("no" if made.problem else "yes",) if declaration else ()
        kind, name, *arguments = _cells(made.part, foreign)
        yield (*state, kind, name)
        for argument in arguments:
            yield (*("" for _ in state), "", f"  {argument}")


def _cells(part: Part, foreign: Sequence[str]) -> Sequence[str]:
    """Return kind and name, and a queue's arguments."""
    match part:
        case Exchange(name, type_):
            return "exchange", f"{name} ({type_})"
        case Queue(name, arguments):
            return "queue", name, *(f"{key}={value}" for key, value in arguments.items())
        case Binding(source, destination, key, to_exchange):
            target = f"{'exchange' if to_exchange else 'queue'} {destination}{f', {key}' if key else ''}"
            return "binding", f"{source} → {target}{' (foreign)' if source in foreign else ''}"


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
