"""Ids, a fake API server that is a function, and a clock that tests advance."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.vbs.client import VbsClient
from tests.unit.vbs.wired import Answer, plain_client

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
OTHER_PROJECT = "0d2c4b6a1f3e4d5c9b7a60f1e2d3c4b6"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
SNAPSHOT = "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"
BACKUP = "6c1f0b7a-93d4-4e55-a2b8-0d7e4f9c1a26"
NAME = f"snapshot-{SNAPSHOT}"
REQUEST = BackupRequest(volume_id=VOLUME, snapshot_id=SNAPSHOT, name=NAME)
ENDPOINT = "http://127.0.0.1:8776"
ACCEPTED = {"backup": {"id": BACKUP, "name": NAME, "links": []}}

T = TypeVar("T")

make_client: Callable[[Answer], httpx.AsyncClient] = plain_client
"""Makes the HTTP client that reaches a server; the fixture ``each_way`` makes both kinds."""


@dataclass
class Clock:
    """A clock that stands still until a test advances it."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Server:
    """Answers each request with a function, and records the requests."""

    answer: Callable[[httpx.Request], httpx.Response]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Record and answer a request."""
        self.requests.append(request)
        return self.answer(request)

    def client(self) -> httpx.AsyncClient:
        """Return an HTTP client that reaches only this server."""
        return make_client(self)

    def api(self, *, auth: httpx.Auth | None = None, version: str = "v2") -> VbsClient:
        """Return the API client under test."""
        return VbsClient(self.client(), ENDPOINT, version=version, auth=auth)

    def call(self, use: Callable[[VbsClient], Coroutine[Any, Any, T]]) -> T:
        """Run ``use`` with a client, and close the client."""

        async def run() -> T:
            api = self.api()
            try:
                return await use(api)
            finally:
                await api.aclose()

        return asyncio.run(run())

    def failure(self, use: Callable[[VbsClient], Coroutine[Any, Any, object]]) -> ApiError:
        """Run ``use``, which must fail, and return its error."""
        return failure(lambda: self.call(use))


def always(status: int, document: object = None, **headers: str) -> Server:
    """Return a server that always gives one answer; bytes are sent unchanged."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Server(lambda _request: httpx.Response(status, content=body, headers=named))


def failure(act: Callable[[], object]) -> ApiError:
    """Return the ``ApiError`` that ``act`` must raise."""
    try:
        result = act()
    except ApiError as error:
        return error
    raise AssertionError(f"no ApiError, but {result!r}")
