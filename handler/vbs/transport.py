"""The transport under httpx, and what its errors say: did the request leave?

httpx-aiohttp 0.2 reports nearly everything as ``ConnectTimeout``, a connection that was cut after the request
among it, and passes some of aiohttp's errors on unchanged. Only the original error can be trusted.
"""

import ssl

import httpx

from handler.vbs.body import Unreadable

try:
    import aiohttp
    from httpx_aiohttp import AiohttpTransport
except ImportError:  # the bundle for FunctionGraph carries httpx's own transport only
    _AIOHTTP_ERRORS: tuple[type[Exception], ...] = ()
    _AIOHTTP_NEVER_LEFT: tuple[type[Exception], ...] = ()
else:
    _AIOHTTP_ERRORS = (aiohttp.ClientError,)
    _AIOHTTP_NEVER_LEFT = (
        aiohttp.ClientConnectorError,  # refused, unresolvable, TLS not agreed
        aiohttp.ConnectionTimeoutError,  # no connection in time, from the pool or anew
        aiohttp.InvalidURL,
    )

NO_ANSWER: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.StreamError,
    OSError,
    Unreadable,
    *_AIOHTTP_ERRORS,
)
"""Everything that a call without a usable answer may raise; ``TimeoutError`` is an ``OSError``."""

_HTTPX_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def never_left(error: Exception) -> bool:
    """Tell whether certainly no byte of the request has left this machine."""
    original = error.__cause__ or error
    if isinstance(original, _AIOHTTP_ERRORS):
        return isinstance(original, _AIOHTTP_NEVER_LEFT)
    return isinstance(error, _HTTPX_NEVER_LEFT)


def describe(error: Exception) -> str:
    """Return the error in one line; some of them have no text of their own."""
    original = error.__cause__ if isinstance(error.__cause__, _AIOHTTP_ERRORS) else error
    return f"{type(original).__name__}: {original}".rstrip(": ")


_HEADER_LIMIT = 65536
"""Bytes of one header; tokens have up to 16,384, aiohttp's own limit is 8,190."""

_IDLE_SECONDS = 4.0
"""A connection that was idle longer is not used again: many servers close theirs after 5 s, and a request
that meets the closing is in doubt."""


def make_transport(
    *, verify: ssl.SSLContext | bool = True, connections: int = 100, trust_env: bool = False
) -> httpx.AsyncBaseTransport:
    """Make the fastest transport that is installed: aiohttp's, else httpx's own."""
    if not _AIOHTTP_ERRORS:
        limits = httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_IDLE_SECONDS,
        )
        return httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=trust_env)

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ssl=verify, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
            trust_env=trust_env,
        )

    return AiohttpTransport(client=session)
