"""The HTTP client, behind one seam: which transport carries the requests.

httpx's own connection pool checks every idle connection at each request, so that more in flight makes it
slower; over aiohttp's the same client does several times as much (figures in CONTRIBUTING). The function's
bundle does without: it has one batch in flight.
"""

import ssl
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

_KEEP_ALIVE = 30.0

_HEADER_LIMIT = 32 * 1024
"""Bytes of an answer's header: IAM's tokens have up to 16,384, aiohttp's own limit is 8,190."""


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
    return httpx.AsyncClient(transport=_aiohttp_transport(context, settings.concurrency), timeout=timeout)


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
