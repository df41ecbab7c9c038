"""Sign-in with an access key (AK/SK): sign each request."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

import httpx

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.pause import Clock, Pause, monotonic
from handler.vbs.auth.signer import canonical_query, sign

_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 300.0
"""Seconds. The gateway locks a key pair for ``_LONGEST_PAUSE`` after more than five failures in a row."""


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key and its secret; a temporary key also has a security token and needs all three."""

    access_key: str
    secret_key: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)


def sign_request(request: httpx.Request, keys: Keys, now: datetime) -> None:
    """Add ``Authorization`` and the headers that it covers. The body of ``request`` must be in memory."""
    query = request.url.params.multi_items()
    if query:
        request.url = request.url.copy_with(query=canonical_query(query).encode())
    headers = {
        "Host": request.headers["Host"],
        "X-Sdk-Date": now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "X-Project-Id": request.extensions.get("project_id"),
        "X-Security-Token": keys.security_token,
        "Content-Type": request.headers.get("Content-Type"),
    }
    signed = {name: value for name, value in headers.items() if value}
    request.headers.update(signed)
    request.headers["Authorization"] = sign(
        keys.access_key,
        keys.secret_key,
        method=request.method,
        path=request.url.path,
        query=query,
        headers=signed,
        body=request.content,
    ).authorization


class AkSkAuth(AsyncAuth):
    """Signs each request with the same keys.

    The gateway locks a key pair that fails more than five times in a row. So after a 401 no request is sent
    for one minute, growing to five, and each call fails with ``denied``. Requests are sent one at a time
    until the API accepts a signature, and again after a refusal.
    """

    def __init__(self, keys: Keys, clock: Clock = monotonic) -> None:
        self._keys = keys
        self._pause = Pause(_FIRST_PAUSE, _LONGEST_PAUSE, clock)
        self._accepted = False
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request. Raises ``ApiError`` during the pause after a refusal."""
        await request.aread()
        async with self._one_until_accepted():
            self._pause.check()
            sign_request(request, self._keys, datetime.now(UTC))
            response = yield request
            self._record(accepted=response.status_code != HTTPStatus.UNAUTHORIZED)

    @asynccontextmanager
    async def _one_until_accepted(self) -> AsyncIterator[None]:
        """Let one request at a time through until the API has accepted a signature."""
        if not self._accepted:
            async with self._lock:
                if not self._accepted:
                    yield
                    return
        yield

    def _record(self, *, accepted: bool) -> None:
        self._accepted = accepted
        if accepted:
            self._pause.clear()
        else:
            self._pause.begin(ApiError(Category.DENIED, _REFUSED, status=HTTPStatus.UNAUTHORIZED))


_REFUSED = (
    "the API refused the signature, so no request is sent for a few minutes; "
    "check HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and this machine's clock"
)
