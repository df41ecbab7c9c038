"""Errors of a call without a usable answer, and whether its request has left this machine."""

import httpx

from handler.causes import Setting, cause_of
from handler.vbs.transport.body import Unreadable

NO_ANSWER: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.StreamError, OSError, Unreadable)
"""All exceptions that a call without a usable answer raises; ``TimeoutError`` is an ``OSError``."""

SIGNING_IN = "signing_in"
"""An extension of a request: true while its sign-in runs, when no copy of it can still reach the API."""

ANSWERED = "answered"
"""A request's extension: a first copy of it was answered, so that the work may be done whatever follows."""

ONCE = "once"
"""A request's extension: it must not be sent twice without a lookup in between, whatever is answered."""

RENEWED = "renewed"
"""A request's extension: its token was refused and has been renewed; the request was not sent again."""

_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_NEVER_LEFT = (*_NOT_CONNECTED, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def never_left(error: Exception) -> bool:
    """Return whether it is certain that no byte of the request has left this machine."""
    return isinstance(error, _NEVER_LEFT)


def no_answer(server: str, error: Exception, setting: Setting) -> tuple[str, str]:
    """Return what to say of a call without a usable answer, and the remedy if there was no connection."""
    sentence = describe(error)
    found = cause_of(setting, sentence) if isinstance(error, _NOT_CONNECTED) else None
    text, remedy = (f"{found[0]} ({sentence})", found[1]) if found else (sentence, "")
    return f"no usable answer from {server}: {text}", remedy


def describe(error: Exception) -> str:
    """Return the error's type and text in one line; some errors have no text."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
