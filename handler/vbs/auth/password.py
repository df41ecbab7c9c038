"""Sign-in with name and password: one token per project, renewed before it ends, by one call at a time."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import httpx

from events.outcome import Category
from handler.backup.hooks import OnCall, noop
from handler.errors import ApiError
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.identity import Account, Grant, sign_in
from handler.vbs.auth.pause import Clock, Pause, monotonic
from handler.vbs.auth.token import TOKEN_HEADER
from handler.vbs.transport.body import bound
from handler.vbs.transport.unanswered import SIGNING_IN

_MARGIN = 120.0
"""Seconds before its end that a token is renewed, as keystoneauth does; a fifth of a short life."""

_REFUSED_FIRST, _REFUSED_LONGEST = 120.0, 900.0
"""Seconds between refused sign-ins: four in 15 minutes at most, since IAM locks accounts after five."""

_FAILED_FIRST, _FAILED_LONGEST = 1.0, 30.0
"""Seconds between sign-ins while IAM cannot be asked."""

_FRUITLESS = 30.0
"""Seconds between renewals while the API refuses even new tokens."""

_MAX_PROJECTS = 1024


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    ends_at: float


class PasswordAuth(AsyncAuth):
    """Sends a token of the request's project (``request.extensions["project_id"]``).

    A 401 renews the token once and repeats the request once; a 401 of a token that has been replaced
    meanwhile repeats it only. Raises ``ApiError``: ``denied`` where the sign-in is refused (and then for a
    growing while without asking), ``unavailable`` where it cannot be asked.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        account: Account,
        *,
        timeout: float = 30.0,
        clock: Clock = monotonic,
        notify: OnCall = noop,
    ) -> None:
        self._client = client
        self._account = account
        self._timeout = timeout
        self._clock = clock
        self._notify = notify
        self._home = account.project_id
        self._proven = False
        self._gate = asyncio.Lock()
        self._pause = Pause(_REFUSED_FIRST, _REFUSED_LONGEST, clock)
        self._sessions: dict[str | None, _Session] = {}

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token; renew it at most once."""
        session = self._session(request.extensions.get("project_id"))
        request.extensions[SIGNING_IN] = True
        token = await session.current()
        request.extensions[SIGNING_IN] = False
        request.headers[TOKEN_HEADER] = token.value
        response = yield request
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            session.accepted()
            return
        # Read before waiting: the sign-in may need the connection that this answer holds.
        bound(response)
        await response.aread()
        request.extensions[SIGNING_IN] = True
        newer = await session.instead_of(token)
        request.extensions[SIGNING_IN] = False
        if newer is not None:
            request.headers[TOKEN_HEADER] = newer.value
            response = yield request
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                session.accepted()

    def _session(self, project_id: str | None) -> "_Session":
        session = self._sessions.get(project_id)
        if session is None:
            if len(self._sessions) >= _MAX_PROJECTS:
                del self._sessions[next(iter(self._sessions))]
            session = self._sessions[project_id] = _Session(self, project_id, self._clock)
        return session

    async def ask(self, project_id: str | None) -> Grant:
        """Sign in for a project; until one sign-in has worked, one at a time, and none after a refusal."""
        if self._proven:
            return await self._later(project_id)
        async with self._gate:
            return await self._first(project_id)

    async def _later(self, project_id: str | None) -> Grant:
        """Tell a refused project, one message's trouble, from a refused account, everybody's."""
        try:
            return await self._scoped(project_id)
        except ApiError as error:
            if error.category is not Category.DENIED or project_id in (None, self._home):
                raise
            await self._sign_in(self._account.home())
            raise replace(error, status=HTTPStatus.FORBIDDEN.value) from None

    async def _first(self, project_id: str | None) -> Grant:
        self._pause.check()
        try:
            grant = await self._scoped(project_id)
        except ApiError as error:
            if error.category is Category.DENIED and not self._proven:
                self._pause.begin(error)
            raise
        self._proven = True
        self._pause.clear()
        return grant

    async def _scoped(self, project_id: str | None) -> Grant:
        """Use the configured project where it is the wanted one; a name's id is known after a sign-in."""
        if project_id is None or self._home in (None, project_id):
            grant = await self._sign_in(self._account.home())
            self._home = self._home or grant.project_id
            if project_id in (None, self._home):
                return grant
        return await self._sign_in({"id": project_id})

    async def _sign_in(self, scope: Mapping[str, object]) -> Grant:
        return await sign_in(self._client, self._account, scope, self._timeout, self._notify)


class _Session:
    """The token of one project, and at most one sign-in for it under way."""

    def __init__(self, auth: PasswordAuth, project_id: str | None, clock: Clock) -> None:
        self._auth = auth
        self._project_id = project_id
        self._clock = clock
        self._token: _Token | None = None
        self._renewal: asyncio.Task[_Token] | None = None
        self._refused = Pause(_REFUSED_FIRST, _REFUSED_LONGEST, clock)
        self._failed = Pause(_FAILED_FIRST, _FAILED_LONGEST, clock)
        self._fruitless_since: float | None = None

    async def current(self) -> _Token:
        """Return a token that will last, or one that still lasts while no other can be had."""
        token = self._token
        if token is not None and self._clock() < token.renew_at:
            return token
        try:
            return await self._renewed()
        except ApiError:
            if token is not None and self._clock() < token.ends_at:
                return token
            raise

    async def instead_of(self, refused: _Token) -> _Token | None:
        """Return another token than the one that the API has refused, or None where none may be asked for."""
        if self._token is not None and self._token is not refused:
            return self._token
        if self._renewal is not None:
            return await self._renewed()
        now = self._clock()
        if self._fruitless_since is not None and now - self._fruitless_since < _FRUITLESS:
            return None
        self._token = None
        self._fruitless_since = now
        return await self._renewed()

    def accepted(self) -> None:
        """Note that the API took a token."""
        self._fruitless_since = None

    async def _renewed(self) -> _Token:
        if self._renewal is None:
            self._refused.check()
            self._failed.check()
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._forget)
        try:
            # A caller that is cancelled must not end what others wait for.
            return await asyncio.shield(self._renewal)
        except ApiError as error:
            raise replace(error) from None

    def _forget(self, renewal: asyncio.Task[_Token]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()

    async def _renew(self) -> _Token:
        try:
            grant = await self._auth.ask(self._project_id)
        except ApiError as error:
            (self._refused if error.category is Category.DENIED else self._failed).begin(error)
            raise
        self._refused.clear()
        self._failed.clear()
        now = self._clock()
        margin = min(_MARGIN, grant.lifetime / 5)
        self._token = _Token(grant.token, now + max(grant.lifetime - margin, 1.0), now + grant.lifetime)
        return self._token
