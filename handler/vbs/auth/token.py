"""Sign-in with a fixed token (``OS_TOKEN``), which the operator has to renew."""

from collections.abc import AsyncGenerator

import httpx

from handler.vbs.auth.async_auth import AsyncAuth

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the name of a header


class TokenAuth(AsyncAuth):
    """Sends the same token with each request."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token."""
        request.headers[TOKEN_HEADER] = self._token
        yield request
