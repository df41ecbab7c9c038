"""The ledger that ``LEDGER_URL`` names, opened for one command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from handler.errors import SettingsError
from handler.ledger.ledger import StoredLedger
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings

T = TypeVar("T")


def with_ledger(settings: Settings, work: Callable[[StoredLedger], Awaitable[T]], *, without: str) -> T:
    """Run work on the opened ledger. ``without`` says in few words what there is none of without a ledger.

    Raises:
        LedgerUnavailable: it cannot be reached or read.
        SettingsError: ``LEDGER_URL`` is ``none``, or a file that does not exist.

    """
    url = settings.ledger_url.get_secret_value()
    if url == "none":
        raise SettingsError(
            f"LEDGER_URL: is none, so {without}; set it, such as LEDGER_URL=sqlite:///ledger.db"
        )
    if url.startswith("sqlite:") and not (path := sqlite_path(url)).exists():
        raise SettingsError(
            f"LEDGER_URL: file {path.absolute()} does not exist on this machine; set it to the "
            "worker's ledger, such as LEDGER_URL=sqlite:////var/lib/snapshot-backup/ledger.db"
        )

    async def opened() -> T:
        ledger = open_ledger(url, lease_seconds=settings.lease_seconds)
        try:
            return await work(ledger)
        finally:
            await ledger.aclose()

    return asyncio.run(opened())
