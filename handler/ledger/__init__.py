"""The promise book: what was claimed, sent and made, written down before it is done."""

import time
from collections.abc import Callable

from handler.errors import SettingsError
from handler.ledger.book import Book
from handler.ledger.memory import MemoryLedger
from handler.ledger.sqlite import SqliteLedger, sqlite_path

__all__ = ["open_ledger"]


def open_ledger(url: str, *, lease_seconds: float, clock: Callable[[], float] = time.time) -> Book:
    """Make the ledger that ``LEDGER_URL`` names, without touching it yet.

    Raises ``SettingsError`` for an address that cannot be one. A ledger that is out of reach raises
    ``LedgerUnavailable`` from its methods, and works again when it is back.
    """
    scheme = url.partition(":")[0]
    if scheme == "none":
        return MemoryLedger(clock, lease_seconds, ask_first=True)
    if scheme == "sqlite":
        return SqliteLedger(sqlite_path(url), clock, lease_seconds)
    raise SettingsError(
        "LEDGER_URL: must be sqlite:///FILE, postgresql://user:password@host/database, or none"
    )
