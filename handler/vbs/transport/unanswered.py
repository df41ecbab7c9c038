"""What a call without a usable answer raises, and whether its request has left this machine."""

import httpx

from handler.vbs.transport.body import Unreadable

NO_ANSWER: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.StreamError, OSError, Unreadable)
"""Everything that a call without a usable answer may raise; ``TimeoutError`` is an ``OSError``."""

SIGNING_IN = "signing_in"
"""A request's extension: true while its sign-in runs, when no copy of the request can still reach the API."""

_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


def never_left(error: Exception) -> bool:
    """Tell whether certainly no byte of the request has left this machine."""
    return isinstance(error, _NEVER_LEFT)


def describe(error: Exception) -> str:
    """Return the error in one line; some of them have no text of their own."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
