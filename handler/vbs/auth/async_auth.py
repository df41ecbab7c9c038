"""The base class of all sign-ins; they use asyncio, so they need ``httpx.AsyncClient``."""

from collections.abc import Generator

import httpx


class AsyncAuth(httpx.Auth):
    """An ``httpx.Auth`` for asynchronous clients only."""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Raise ``RuntimeError``; the inherited method would send the request without a sign-in."""
        raise RuntimeError(f"{type(self).__name__} signs in asynchronously: use httpx.AsyncClient")
