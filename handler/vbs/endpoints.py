"""Endpoints: the roots of the services' URLs, to which project and resource are added. See ``cloud``."""

from typing import Final, Literal, Protocol

Service = Literal["backups", "snapshots"]

HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "snapshot-backup",
}


class Endpoints(Protocol):
    """The roots of backups and of snapshots: URLs that end in the version; None until they are found."""

    backups: str | None
    snapshots: str | None

    async def find(self, service: Service) -> str:
        """Return the root of a service, which is kept. Raises ``ApiError`` where none can be used."""

    def doubt(self) -> None:
        """Find the roots again before the next call, unless that was done just now or settings fix them."""


class Fixed:
    """Endpoints that are known: one root for backups and snapshots."""

    def __init__(self, endpoint: str, version: str) -> None:
        self._root = f"{endpoint.rstrip('/')}/{version}"
        self.backups: str | None = self._root
        self.snapshots: str | None = self._root

    async def find(self, service: Service) -> str:
        """Return the root."""
        return self._root

    def doubt(self) -> None:
        """Do nothing."""
