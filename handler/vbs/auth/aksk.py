"""Sign-in with an access key (AK/SK): sign each request."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from events.outcome import Category
from handler.errors import ApiError
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.keys import Keys, sign_request
from handler.vbs.auth.pause import Clock, Pause, monotonic
from handler.vbs.codes import CODES
from handler.vbs.fault_body import read_fault
from handler.vbs.transport.body import bound

if TYPE_CHECKING:
    from handler.vbs.auth.lean_keys import SignedRequest

_FIRST_PAUSE = 60.0
_LONGEST_PAUSE = 300.0
"""Seconds. The gateway locks a key pair for ``_LONGEST_PAUSE`` after more than five failures in a row."""

_STRANGERS_IN_A_ROW = 3
_MAX_PROJECTS = 16_384


class AkSkAuth(AsyncAuth):
    """Signs each request with the same keys.

    The gateway locks a key pair that fails more than five times in a row. So after a 401 no request is sent
    for one minute, growing to five, and each call fails with ``denied``. Requests are sent one at a time
    until the API accepts a signature, and again after a refusal.

    The keys are judged by ``home``, our own project, if it is known. A 401 in another project is that
    project's; after three in a row, projects that were never accepted wait as above.
    """

    def __init__(self, keys: Keys, clock: Clock = monotonic, *, home: str | None = None) -> None:
        self._keys = keys
        self._home = home
        self._pause = Pause(_FIRST_PAUSE, _LONGEST_PAUSE, clock)
        self._strangers = Pause(_FIRST_PAUSE, _LONGEST_PAUSE, clock)
        self._refused_in_a_row = 0
        self._known: OrderedDict[str, None] = OrderedDict()
        self._accepted = False
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request. Raises ``ApiError`` during the pause after a refusal."""
        await request.aread()
        project_id = request.extensions.get("project_id", "")
        async with self._one_until_accepted():
            self._pause.check()
            if self._is_stranger(project_id):
                self._strangers.check()
            sign_request(request, self._keys, datetime.now(UTC))
            response = yield request
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                self.record_acceptance(project_id)
            else:
                await self.record_unauthorized(project_id, response)

    def prepare(self, request: httpx.Request, project: str) -> "SignedRequest":
        """Prepare requests like this one; see ``handler.vbs.lean``."""
        from handler.vbs.auth.lean_keys import SignedRequest

        return SignedRequest(request, project, self._keys)

    def ready(self, project_id: str) -> "_Ready | None":
        """Return what signs a request now; None where it must wait. See ``handler.vbs.lean``."""
        if not self._accepted or self._pause.active:
            return None
        if self._is_stranger(project_id) and self._strangers.active:
            return None
        return _Ready(self, project_id)

    @asynccontextmanager
    async def _one_until_accepted(self) -> AsyncIterator[None]:
        """Let one request at a time through until the API has accepted a signature."""
        if not self._accepted:
            async with self._lock:
                if not self._accepted:
                    yield
                    return
        yield

    def _is_stranger(self, project_id: str) -> bool:
        return self._home is not None and project_id != self._home and project_id not in self._known

    async def record_unauthorized(self, project_id: str, response: httpx.Response) -> None:
        """Record a 401, if the API or its gateway gave it."""
        if await _refuses_sign_in(response):
            self._record_refusal(project_id)

    def record_acceptance(self, project_id: str) -> None:
        """Record any other answer: the signature was accepted."""
        self._accepted = True
        self._refused_in_a_row = 0
        self._pause.clear()
        self._strangers.clear()
        self._known[project_id] = None
        self._known.move_to_end(project_id)
        if len(self._known) > _MAX_PROJECTS:
            self._known.popitem(last=False)

    def _record_refusal(self, project_id: str) -> None:
        error = ApiError(Category.DENIED, _REFUSED, status=HTTPStatus.UNAUTHORIZED)
        self._refused_in_a_row += 1
        if not self._is_stranger(project_id):
            self._accepted = False
            self._pause.begin(error)
        elif self._refused_in_a_row >= _STRANGERS_IN_A_ROW:
            self._strangers.begin(error)


class _Ready(NamedTuple):
    """The keys, for one request of a project; its signature is ``SignedRequest``'s."""

    auth: AkSkAuth
    project_id: str
    line: bytes = b""

    def accepted(self) -> None:
        self.auth.record_acceptance(self.project_id)

    async def refused(self, response: httpx.Response, _extensions: dict[str, Any]) -> None:
        await self.auth.record_unauthorized(self.project_id, response)


async def _refuses_sign_in(response: httpx.Response) -> bool:
    """Return whether the API or its gateway refuses the signature; a proxy's page says nothing about it.

    An empty body may be anybody's. It counts as a refusal: a locked key pair would be worse than a pause.
    """
    bound(response)
    body = await response.aread()
    fault = read_fault(response.status_code, body)
    return not body or fault.own or fault.code in CODES


_REFUSED = (
    "the API refused the signature, so no request is sent for a few minutes; "
    "check HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and this machine's clock"
)
