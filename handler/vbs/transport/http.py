"""The HTTP client, behind one seam: which transport carries the requests.

``pool`` where its parser is installed (the extra ``fast``), else httpx's own, which does for the function: it
has one batch in flight.
"""

import ssl
from typing import Any
from urllib.request import getproxies

import httpx

from handler.errors import SettingsError
from handler.settings import Settings

try:
    from handler.vbs.transport.pool import Pool
except ImportError:  # the extra ``fast`` is not installed
    _fast = False
else:
    _fast = True

_KEEP_ALIVE = 4.0
"""Seconds; servers close idle connections after five and more, and a POST that meets that is in doubt."""


class LeanClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` that hands requests straight to its transport.

    It signs in as ever, and leaves out what this API has no use for: cookies, redirects, event hooks, the
    merging of defaults into each request.
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
    return LeanClient(Pool(context, limit=settings.concurrency, keep_alive=_KEEP_ALIVE), timeout)


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.vbs_ca_file:
        try:
            context.load_verify_locations(settings.vbs_ca_file)
        except OSError as error:
            raise SettingsError(f"VBS_CA_FILE: {settings.vbs_ca_file}: {error}") from None
    return context
