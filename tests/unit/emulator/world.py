"""Helpers that put the emulator into a state and call it without a socket."""

import asyncio
from dataclasses import dataclass, field

import httpx
from starlette.types import Scope

from infra.emulator.app import create_app
from infra.emulator.settings import Settings
from infra.emulator.store import Backup, Snapshot, Store

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
NOW = 1_800_000_000.0


@dataclass
class Clock:
    """A clock that stands still until a test advances it."""

    now: float = NOW

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""
        return self.now


@dataclass
class World:
    """An emulator that is called directly, with access to its store and clock."""

    settings: Settings = field(default_factory=lambda: Settings(race=0))
    base_url: str = "http://127.0.0.1:8776"

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.store = Store(self.clock)
        self.app = create_app(self.settings, no_connection, self.store)

    def call(self, method: str, path: str, **request: object) -> httpx.Response:
        """Make one API call."""
        return self.calls([(method, path, request)])[0]

    def calls(self, requests: list[tuple[str, str, dict[str, object]]]) -> list[httpx.Response]:
        """Make several API calls concurrently."""
        return asyncio.run(self._calls(requests))

    def create(self, path: str = f"/v2/{PROJECT}/backups", **backup: object) -> httpx.Response:
        """Make a create call; volume and snapshot have defaults."""
        asked = {"volume_id": VOLUME, "snapshot_id": SNAPSHOT, **backup}
        return self.call("POST", path, json={"backup": asked})

    async def _calls(self, requests: list[tuple[str, str, dict[str, object]]]) -> list[httpx.Response]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url=self.base_url) as client:
            waiting = (client.request(method, path, **request) for method, path, request in requests)  # type: ignore[arg-type] # httpx's many options
            return await asyncio.gather(*waiting)


def no_connection(_scope: Scope) -> asyncio.Transport | None:
    """Raise an error, since a direct call has no connection that could be closed."""
    raise ConnectionAbortedError("cut")


def stored_backup(**facts: object) -> Backup:
    """Return a backup for the store, available by default."""
    usual: dict[str, object] = {
        "project_id": PROJECT,
        "volume_id": VOLUME,
        "snapshot_id": None,
        "name": None,
        "description": None,
        "size": 1,
        "created_at": NOW - 60,
        "ends_at": NOW - 30,
        "data_timestamp": NOW - 90,
        "request": None,
    }
    return Backup(**{**usual, **facts})  # type: ignore[arg-type] # checked by the dataclass's use


def stored_snapshot(**facts: object) -> Snapshot:
    """Return a snapshot for the store, available by default."""
    usual: dict[str, object] = {
        "id": SNAPSHOT,
        "project_id": PROJECT,
        "volume_id": VOLUME,
        "created_at": NOW - 99,
    }
    return Snapshot(**{**usual, **facts})  # type: ignore[arg-type] # checked by the dataclass's use
