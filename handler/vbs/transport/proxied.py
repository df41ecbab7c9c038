"""An httpx transport that sends each request directly, or through the proxy that the environment names."""

from collections.abc import Callable
from typing import NamedTuple

import httpx

from handler.errors import SettingsError
from handler.proxies import Proxy, proxy_for

Origin = tuple[str, str, int | None]
"""Scheme, host and port."""


class _Route(NamedTuple):
    transport: httpx.AsyncBaseTransport
    variable: str | None
    """The variable that names the proxy, or None without one."""


class ProxiedTransport(httpx.AsyncBaseTransport):
    """Carries requests over ``direct``, or over what ``through`` makes for a proxy.

    The way is decided once for each scheme, host and port.
    """

    def __init__(
        self, direct: httpx.AsyncBaseTransport, through: Callable[[Proxy], httpx.AsyncBaseTransport]
    ) -> None:
        self._direct = direct
        self._through = through
        self._routes: dict[Origin, _Route] = {}
        self._proxied: dict[Proxy, httpx.AsyncBaseTransport] = {}

    def prepare(self, url: httpx.URL) -> None:
        """Decide the way to a URL. Raises ``SettingsError`` where a variable cannot be used."""
        self._route(url)

    def direct(self, url: httpx.URL) -> httpx.AsyncBaseTransport | None:
        """Return what carries requests to a URL without a proxy; None if one does, or cannot be used."""
        try:
            transport, variable = self._route(url)
        except SettingsError:
            return None
        return transport if variable is None else None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; an error says through which proxy, by its variable."""
        try:
            transport, variable = self._route(request.url)
        except SettingsError as error:
            raise httpx.ProxyError(str(error)) from None  # nothing has left
        try:
            return await transport.handle_async_request(request)
        except httpx.TransportError as error:
            if variable is None:
                raise
            raise type(error)(f"{error} (through the proxy of {variable})") from error

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()

    def _route(self, url: httpx.URL) -> _Route:
        origin = (url.scheme, url.host, url.port)
        if origin not in self._routes:
            self._routes[origin] = self._decide(url)
        return self._routes[origin]

    def _decide(self, url: httpx.URL) -> _Route:
        proxy = proxy_for(str(url))
        if proxy is None:
            return _Route(self._direct, None)
        if proxy not in self._proxied:
            self._proxied[proxy] = self._through(proxy)
        return _Route(self._proxied[proxy], proxy.variable)
