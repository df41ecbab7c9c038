"""``snapshot-backup ledger``: look after the promise book."""

import asyncio
import json
from typing import Annotated

import typer

from handler.commands.common import AsJson, console, failing_plainly
from handler.ledger import open_ledger
from handler.settings import Settings, load_settings

_DAY = 86_400.0

app = typer.Typer(no_args_is_help=True, help="Look after the ledger.")


@app.callback()
def _ledger() -> None:
    """Keep the command's name where there is only one."""


@app.command("prune", epilog="Example: snapshot-backup ledger prune --older-than 30")
def prune(
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Days since the backup ended (default: LEDGER_RETENTION).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forget snapshots whose backup ended long ago; an event that comes after all would make another.

    Snapshots without an end are kept for 30 days at least. A worker does this by itself every hour.
    """
    with failing_plainly():
        settings = load_settings()
        days = settings.ledger_retention if older_than is None else older_than
        pruned = asyncio.run(_prune(settings, days * _DAY))
    if as_json:
        print(json.dumps({"pruned": pruned}))
    else:
        console().print(f"forgot {pruned:,} snapshot{'' if pruned == 1 else 's'}")


async def _prune(settings: Settings, seconds: float) -> int:
    ledger = open_ledger(settings.ledger_url.get_secret_value(), lease_seconds=settings.lease_seconds)
    try:
        return await ledger.prune(seconds)
    finally:
        await ledger.aclose()
