"""The HTTP client, behind one seam: which transport carries the requests.

``pool`` where its parser is installed (the extra ``fast``), else httpx's own, which does for the function: it
has one batch in flight. What goes through a proxy goes over httpx's own in both cases. The environment's
proxies are found by ``handler.proxies``, never by httpx.
"""

import contextlib
import ssl
from typing import Any

import httpx

from handler.errors import SettingsError
from handler.proxies import Proxy, any_proxy
from handler.settings import Settings
from handler.tls_files import NO_FILES, TlsFiles, trust
from handler.vbs.transport.framing import KEEP_ALIVE
from handler.vbs.transport.guarded import GuardedTransport
from handler.vbs.transport.proxied import ProxiedTransport

try:
    from handler.vbs.transport.pool import Pool
except ImportError:  # the extra ``fast`` is not installed
    _fast = False
else:
    _fast = True


class LeanClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` that hands requests straight to its transport.

    It signs in as ever, and leaves out what this API has no use for: cookies, redirects, event hooks, the
    merging of defaults into each request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout) -> None:
        super().__init__(transport=transport, timeout=timeout, trust_env=False)
        self._carrier = transport
        self._carry = transport.handle_async_request

    def pool(self, url: httpx.URL) -> "Pool | None":
        """Return the pool that carries requests to a URL directly; None if something else does."""
        carrier: httpx.AsyncBaseTransport | None = self._carrier
        if isinstance(carrier, ProxiedTransport):
            carrier = carrier.direct(url)
        return carrier if _fast and isinstance(carrier, Pool) else None

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
            await _read(response)
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
                except BaseException:
                    await response.aclose()
                    raise
                await _read(response)
        finally:
            await flow.aclose()


async def _read(response: httpx.Response) -> None:
    """Read the whole answer. It is closed afterwards, whatever happens: its connection is one of a few."""
    try:
        await response.aread()
    except BaseException:
        await response.aclose()
        raise


def http_client(
    settings: Settings, tls: TlsFiles | None = None, auth_url: str | None = None
) -> httpx.AsyncClient:
    """Return the client for the API and its sign-in at ``auth_url``, with the PEM files of the account.

    Raises:
        SettingsError: a PEM file cannot be read, or a proxy's variable cannot be used for the settings' own
            URLs.

    """
    context = _context(settings, tls or NO_FILES)
    timeout = httpx.Timeout(settings.vbs_timeout)
    return LeanClient(_transport(settings, context, auth_url or settings.os_auth_url), timeout)


def _transport(settings: Settings, context: ssl.SSLContext, auth_url: str | None) -> httpx.AsyncBaseTransport:
    limits = httpx.Limits(
        max_connections=settings.concurrency,
        max_keepalive_connections=settings.concurrency,
        keepalive_expiry=KEEP_ALIVE,
    )
    direct: httpx.AsyncBaseTransport
    if _fast:
        direct = Pool(context, limit=settings.concurrency, keep_alive=KEEP_ALIVE)
    else:
        direct = GuardedTransport(httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False))
    if not any_proxy():
        return direct
    proxied = ProxiedTransport(direct, lambda proxy: _through(proxy, context, limits))
    for url in filter(None, (settings.vbs_endpoint, settings.evs_endpoint, auth_url)):
        with contextlib.suppress(httpx.InvalidURL):  # the sign-in refuses such an OS_AUTH_URL, if it is used
            proxied.prepare(httpx.URL(url))
    return proxied


def _through(proxy: Proxy, context: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    url = httpx.URL(proxy.url.get_secret_value())
    server = httpx.Proxy(url, ssl_context=context if url.scheme == "https" else None)
    try:
        own = httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=server, trust_env=False)
    except ImportError:
        raise SettingsError(
            f"{proxy.variable}: a SOCKS proxy needs the package socksio: pip install 'httpx[socks]'"
        ) from None
    return GuardedTransport(own)


def _context(settings: Settings, tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.vbs_ca_file:
        trust(context, "VBS_CA_FILE", settings.vbs_ca_file)
    tls.load(context)
    return context
