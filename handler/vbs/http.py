"""The HTTP client, behind one seam: which transport carries the requests.

httpx's own connection pool checks every idle connection at each request, so that more in flight makes it
slower; over aiohttp's the same client does several times as much (figures in CONTRIBUTING). The function's
bundle does without: it has one batch in flight.
"""

import ssl
from typing import Any
from urllib.request import getproxies

import httpx

from handler.errors import SettingsError
from handler.settings import Settings

try:
    import aiohttp
    import httpx_aiohttp
except ImportError:  # the extra ``fast`` is not installed
    _fast = False
else:
    _fast = True

_KEEP_ALIVE = 4.0
"""Seconds; servers close idle connections after five and more, and a POST that meets that is in doubt."""

_HEADER_LIMIT = 32 * 1024
"""Bytes of an answer's header: IAM's tokens have up to 16,384, aiohttp's own limit is 8,190."""


class LeanClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` that hands requests straight to its transport.

    It signs in as ever, and leaves out what this API has no use for: cookies, redirects, event hooks, the
    merging of defaults into each request. That was a third of a call's cost (figures in CONTRIBUTING).
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout)
        self._carry = transport.handle_async_request

    async def send(  # noqa: D102 - as the class it extends
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = False,
    ) -> httpx.Response:
        if isinstance(auth, httpx.Auth):
            response = await self._signed_in(request, auth)
        else:
            response = await self._carry(request)
        if not stream:
            await response.aread()
        return response

    async def _signed_in(self, request: httpx.Request, auth: httpx.Auth) -> httpx.Response:
        flow = auth.async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = await self._carry(request)
                try:
                    request = await flow.asend(response)
                except StopAsyncIteration:
                    return response
                await response.aread()
        finally:
            await flow.aclose()


def http_client(settings: Settings) -> httpx.AsyncClient:
    """Return the client for the API and its sign-in. Raises ``SettingsError`` for a bad ``VBS_CA_FILE``."""
    context = _context(settings)
    timeout = httpx.Timeout(settings.vbs_timeout)
    limits = httpx.Limits(
        max_connections=settings.concurrency,
        max_keepalive_connections=settings.concurrency,
        keepalive_expiry=_KEEP_ALIVE,
    )
    if not _fast or getproxies():
        # Proxies from the environment are httpx's own transport's business.
        return httpx.AsyncClient(verify=context, timeout=timeout, limits=limits)
    return LeanClient(_aiohttp_transport(context, settings.concurrency), timeout)


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.vbs_ca_file:
        try:
            context.load_verify_locations(settings.vbs_ca_file)
        except OSError as error:
            raise SettingsError(f"VBS_CA_FILE: {settings.vbs_ca_file}: {error}") from None
    return context


def _aiohttp_transport(context: ssl.SSLContext, connections: int) -> "httpx.AsyncBaseTransport":
    def session() -> "aiohttp.ClientSession":
        connector = aiohttp.TCPConnector(ssl=context, limit=connections, keepalive_timeout=_KEEP_ALIVE)
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), max_field_size=_HEADER_LIMIT
        )

    return httpx_aiohttp.AiohttpTransport(client=session)
