"""What our sign-ins share: they wait for others, so they work with ``httpx.AsyncClient`` only."""

from collections.abc import Generator

import httpx


class AsyncAuth(httpx.Auth):
    """An ``httpx.Auth`` that refuses to let a blocking client go out without its sign-in."""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Raise ``RuntimeError``; httpx's own would send the request as it is."""
        raise RuntimeError(f"{type(self).__name__} signs in asynchronously: use httpx.AsyncClient")
