"""Sign-in inside FunctionGraph: the credentials of the function's agency, from the call's context."""

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

import httpx

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.auth.aksk import Keys, sign_request
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.token import TOKEN_HEADER

_NOTHING = ("", "null", "None")
"""What runtimes give without an agency, besides None."""


class AgencyAuth(AsyncAuth):
    """Takes the present call's credentials for each request: the platform renews them, we never keep them.

    ``context`` returns the context of the call that is running. The temporary key triple signs; without it
    the token is sent. With neither the request is refused here (``denied``), or goes out without a sign-in
    where it is not ``required``.
    """

    def __init__(self, context: Callable[[], object], *, required: bool = True) -> None:
        self._context = context
        self._required = required

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign, or add the token. Raises ``ApiError`` where the context has neither."""
        context = self._context()
        keys = _keys(context)
        token = _told(context, "getToken")
        if keys is not None:
            await request.aread()
            sign_request(request, keys, datetime.now(UTC))
        elif token is not None:
            request.headers[TOKEN_HEADER] = token
        elif self._required:
            raise ApiError(
                Category.DENIED, "the function has no agency: give it one that may use VBS and EVS"
            )
        yield request


def _keys(context: object) -> Keys | None:
    access_key = _told(context, "getSecurityAccessKey")
    secret_key = _told(context, "getSecuritySecretKey")
    security_token = _told(context, "getSecurityToken")
    if access_key and secret_key and security_token:
        return Keys(access_key, secret_key, security_token)
    return None


def _told(context: object, method: str) -> str | None:
    """Ask the context; runtimes differ in which of the methods they have."""
    ask = getattr(context, method, None)
    value = ask() if callable(ask) else None
    if not isinstance(value, str) or value in _NOTHING:
        return None
    return value if value.isascii() and value.isprintable() else None
