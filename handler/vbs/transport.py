"""Did the request leave? What httpx and its transports raise, told apart.

httpx-aiohttp 0.2 reports nearly everything as ``ConnectTimeout``, a connection that was cut after the request
among it, and passes some of aiohttp's errors on unchanged. Only the original error can be trusted.
"""

import httpx

from handler.vbs.body import Unreadable

try:
    import aiohttp
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
