"""Sign-in with a fixed token (``OS_TOKEN``), which the operator has to renew."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx

from handler.vbs.auth.async_auth import AsyncAuth

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the name of a header

_LINE = TOKEN_HEADER.encode() + b": %b\r\n"


def token_line(token: str) -> bytes | None:
    """Return the header with its line's end; None if no header can have this value."""
    if not token.isascii() or "\r" in token or "\n" in token:
        return None
    return _LINE % token.encode()


class TokenAuth(AsyncAuth):
    """Sends the same token with each request."""

    def __init__(self, token: str) -> None:
        self._token = token
        line = token_line(token)
        self._ready = None if line is None else _Ready(line)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token."""
        request.headers[TOKEN_HEADER] = self._token
        yield request

    def ready(self, _project_id: str) -> "_Ready | None":
        """Return what signs a request; see ``handler.vbs.lean``."""
        return self._ready


class _Ready:
    """The token's header. An answer changes nothing: a 401 is an error like others."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    def accepted(self) -> None: ...

    async def refused(self, response: httpx.Response, extensions: dict[str, Any]) -> None: ...
