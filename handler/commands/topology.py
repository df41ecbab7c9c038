"""``snapshot-backup topology``: make, or print, the broker's side."""

import asyncio
import json

import typer
from rich.table import Table

from handler import bootstrap
from handler.broker.topology import Topology, declare
from handler.commands.common import AsJson, console, failing_plainly
from handler.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Make, or print, the broker's side. Never deletes.")


@app.command(
    "declare", epilog="Example: AMQP_URL=amqp://user:password@host/ snapshot-backup topology declare"
)
def declare_command(as_json: AsJson = False) -> None:
    """Declare every exchange, queue and binding; what exists already is left as it is."""
    with failing_plainly():
        settings = load_settings()
        asyncio.run(_declare(settings))
        _print(bootstrap.topology(settings), as_json=as_json)


@app.command("show", epilog="Example: snapshot-backup topology show --json")
def show_command(as_json: AsJson = False) -> None:
    """Print what `declare` makes, without a connection."""
    with failing_plainly():
        _print(bootstrap.topology(load_settings()), as_json=as_json)


async def _declare(settings: Settings) -> None:
    async with await bootstrap.open_link(settings) as link:
        await declare(link, bootstrap.topology(settings))


def _print(topology: Topology, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_document(topology)))
        return
    table = Table(title=f"The broker's side of {topology.queue}", title_justify="left")
    for column in ("kind", "name", "details"):
        table.add_column(column, overflow="fold")
    for exchange in topology.exchanges():
        table.add_row("exchange", exchange.name, exchange.type)
    for queue in topology.queues():
        table.add_row(
            "queue", queue.name, "\n".join(f"{key}={value}" for key, value in queue.arguments.items())
        )
    for binding in (*topology.bindings(), *topology.foreign_bindings()):
        key = f" for {binding.routing_key}" if binding.routing_key else ""
        kind = "exchange" if binding.to_exchange else "queue"
        table.add_row("binding", f"{binding.source} → {binding.destination}", f"to the {kind}{key}")
    console().print(table)


def _document(topology: Topology) -> dict[str, object]:
    return {
        "exchanges": [exchange._asdict() for exchange in topology.exchanges()],
        "queues": [queue._asdict() for queue in topology.queues()],
        "bindings": [binding._asdict() for binding in (*topology.bindings(), *topology.foreign_bindings())],
    }
