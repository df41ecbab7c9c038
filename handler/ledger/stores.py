"""Opens the ledger that ``LEDGER_URL`` names: SQLite, PostgreSQL, or none."""

import time
from collections.abc import Callable

from handler.errors import SettingsError
from handler.extras import install
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger


def open_ledger(url: str, *, lease_seconds: float, clock: Callable[[], float] = time.time) -> StoredLedger:
    """Make the ledger that ``LEDGER_URL`` names, without touching it yet.

    ``clock`` is seconds since the epoch; PostgreSQL uses its own. Raises ``SettingsError`` for an address
    that cannot be one. A ledger that is out of reach raises ``LedgerUnavailable`` from its methods, and works
    again when it is back.
    """
    match url.partition(":")[0]:
        case "none":
            return MemoryLedger(clock, lease_seconds, ask_first=True)
        case "sqlite":
            return _sqlite(url, clock, lease_seconds)
        case "postgresql":
            return _postgres(url, lease_seconds)
        case _:
            raise SettingsError(
                "LEDGER_URL: must be sqlite:///FILE, postgresql://user:password@host/db, or none"
            )


def _sqlite(url: str, clock: Callable[[], float], lease_seconds: float) -> StoredLedger:
    # Only who has such a file waits for the import: 7 ms in a cold start.
    from handler.ledger.sqlite import SqliteLedger, sqlite_path

    return SqliteLedger(sqlite_path(url), clock, lease_seconds)


def _postgres(url: str, lease_seconds: float) -> StoredLedger:
    # Only who uses it needs its driver, and waits for its import.
    try:
        from handler.ledger.postgres import PostgresLedger
    except ImportError as error:
        raise SettingsError(f"LEDGER_URL: for PostgreSQL {install('postgres')} ({error})") from error
    return PostgresLedger(url, lease_seconds)
