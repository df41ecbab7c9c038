"""Sign-in inside FunctionGraph with the credentials of the function's agency, from the call's context."""

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

import httpx

from events.outcome import Category
from handler.errors import ApiError
from handler.redaction import hold_token
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.keys import Keys, sign_request
from handler.vbs.auth.token import TOKEN_HEADER

_NO_CREDENTIAL = ("", "null", "None")
"""What a runtime returns for a credential when there is no agency, besides None."""


class AgencyAuth(AsyncAuth):
    """Signs each request with the credentials in the context of the running call.

    The platform renews the credentials, so they are never kept. ``context`` returns the context. A complete
    temporary key (access key, secret key, security token) signs the request; without one the token is sent.
    With neither, the request fails with ``denied`` if ``required``, else it is sent without a sign-in.
    """

    def __init__(self, context: Callable[[], object], *, required: bool = True) -> None:
        self._context = context
        self._required = required

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request, or add the token. Raises ``ApiError`` if the context has neither."""
        context = self._context()
        keys = _keys(context)
        token = _credential(context, "getToken")
        if keys is not None:
            await request.aread()
            sign_request(request, keys, datetime.now(UTC))
        elif token is not None:
            request.headers[TOKEN_HEADER] = token
        elif self._required:
            raise ApiError(
                Category.DENIED, "the function has no agency: give it an agency with rights for VBS and EVS"
            )
        yield request


def _keys(context: object) -> Keys | None:
    access_key = _credential(context, "getSecurityAccessKey")
    secret_key = _credential(context, "getSecuritySecretKey")
    security_token = _credential(context, "getSecurityToken")
    if access_key and secret_key and security_token:
        return Keys(access_key, secret_key, security_token)
    return None


def _credential(context: object, method: str) -> str | None:
    """Return what the method returns, or None; not every runtime has all methods."""
    getter = getattr(context, method, None)
    value = getter() if callable(getter) else None
    if not isinstance(value, str) or value in _NO_CREDENTIAL:
        return None
    hold_token(value)
    return value if value.isascii() and value.isprintable() else None
