"""The ledger as the console reads it: opened when it is first asked, and kept open."""

from handler.errors import LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.settings import Settings


class LedgerAccess:
    """Opens the ledger that ``LEDGER_URL`` names. It never makes a new file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: StoredLedger | None = None

    def open(self) -> StoredLedger:
        """Return the ledger. Raises ``LedgerUnavailable`` where there is none; it says what to set."""
        if self._ledger is None:
            url = self._settings.ledger_url.get_secret_value()
            if problem := _problem(url):
                raise problem
            self._ledger = open_ledger(url, lease_seconds=self._settings.lease_seconds)
        return self._ledger

    async def aclose(self) -> None:
        """Close it, if it was opened."""
        if self._ledger is not None:
            await self._ledger.aclose()


def _problem(url: str) -> LedgerUnavailable | None:
    if url == "none":
        return LedgerUnavailable(
            "is none, so nothing is known of snapshots, of messages that wait and of workers",
            "set it to the workers' ledger",
            place="LEDGER_URL",
        )
    if url.startswith("sqlite:") and not (path := sqlite_path(url)).exists():
        return LedgerUnavailable(
            f"file {path.absolute()} does not exist on this machine",
            "set it to the worker's ledger",
            place="LEDGER_URL",
        )
    return None
