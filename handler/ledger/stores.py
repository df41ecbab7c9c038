"""Opens the ledger that ``LEDGER_URL`` names: SQLite, PostgreSQL, or none."""

import time
from collections.abc import Callable

from handler.backup.hooks import OnLedgerCommit, noop
from handler.errors import SettingsError
from handler.extras import install
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger


def open_ledger(
    url: str,
    *,
    lease_seconds: float,
    clock: Callable[[], float] = time.time,
    notify: OnLedgerCommit = noop,
) -> StoredLedger:
    """Make the ledger that ``LEDGER_URL`` names, without connecting yet.

    ``clock`` is seconds since the epoch; PostgreSQL uses its own. Raises ``SettingsError`` for a bad URL.
    While the ledger is unavailable its methods raise ``LedgerUnavailable``.
    """
    match url.partition(":")[0]:
        case "none":
            return MemoryLedger(clock, lease_seconds, ask_first=True, notify=notify)
        case "sqlite":
            return _sqlite(url, clock, lease_seconds, notify)
        case "postgresql":
            return _postgres(url, lease_seconds, notify)
        case _:
            raise SettingsError(
                "LEDGER_URL: must be sqlite:///FILE, postgresql://user:password@host/database, or none"
            )


def _sqlite(
    url: str, clock: Callable[[], float], lease_seconds: float, notify: OnLedgerCommit
) -> StoredLedger:
    # Imported where it is used: the import takes 7 ms of a cold start.
    from handler.ledger.sqlite import SqliteLedger, sqlite_path

    return SqliteLedger(sqlite_path(url), clock, lease_seconds, notify=notify)


def _postgres(url: str, lease_seconds: float, notify: OnLedgerCommit) -> StoredLedger:
    # Imported where it is used: only PostgreSQL needs the driver.
    try:
        from handler.ledger.postgres import PostgresLedger
    except ImportError as error:
        raise SettingsError(f"LEDGER_URL: for PostgreSQL {install('postgres')} ({error})") from error
    return PostgresLedger(url, lease_seconds, notify=notify)
