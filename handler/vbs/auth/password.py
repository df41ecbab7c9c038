"""Sign-in at Keystone or IAM: one token per project, renewed early and by one call at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx

from events.outcome import Category
from handler.backup.hooks import OnCall, noop
from handler.errors import ApiError
from handler.vbs.auth.account import Account, Document
from handler.vbs.auth.async_auth import AsyncAuth
from handler.vbs.auth.catalogue import Catalogue
from handler.vbs.auth.identity import Grant, sign_in
from handler.vbs.auth.pause import Clock, Pause, monotonic
from handler.vbs.auth.token import TOKEN_HEADER, token_line
from handler.vbs.transport.body import bound
from handler.vbs.transport.unanswered import ANSWERED, ONCE, RENEWED, SIGNING_IN

_MARGIN = 120.0
"""Seconds before expiry at which a token is renewed, as in keystoneauth; at most a fifth of its lifetime."""

_REFUSED_FIRST, _REFUSED_LONGEST = 120.0, 900.0
"""Seconds between refused sign-ins: at most four in 15 minutes, since IAM locks an account after five."""

_FAILED_FIRST, _FAILED_LONGEST = 1.0, 30.0
"""Seconds between sign-ins while IAM is unavailable."""

_REJECTED_PAUSE = 30.0
"""Seconds between renewals while the API refuses new tokens too."""

_MAX_PROJECTS = 16_384
"""Projects whose tokens are kept. Beyond them each event would need a sign-in, and these are limited."""

_NEW_BURST, _NEW_PER_SECOND = 20.0, 5.0
"""Sign-ins for projects that never had a token: at once, and each second. Producers can make up projects."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    ends_at: float


class PasswordAuth(AsyncAuth):
    """Sends a token of the request's project (``request.extensions["project_id"]``).

    After a 401 the token is renewed once and the request is repeated once. If another call has replaced the
    token meanwhile, the request is only repeated. A request marked ``ONCE`` is not repeated: the client
    decides. Raises ``ApiError``: ``denied`` if IAM refuses the sign-in, and again without asking IAM during a
    growing pause; ``unavailable`` if IAM gives no usable answer. An application credential and a trust are
    bound to one project: a request of another project is ``denied`` (403) without asking IAM for it.
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
        self._catalogue: Catalogue | None = None
        self._home_works = False
        self._verified = False
        self._lock = asyncio.Lock()
        self._pause = Pause(_REFUSED_FIRST, _REFUSED_LONGEST, clock)
        self._sessions: OrderedDict[str | None, _Session] = OrderedDict()
        self._new = _NEW_BURST
        self._new_at = clock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token; renew it at most once for this request."""
        project_id = request.extensions.get("project_id")
        session = self._session(project_id)
        request.extensions[SIGNING_IN] = True
        token = await session.current()
        self._check_bound(project_id)
        request.extensions[SIGNING_IN] = False
        request.headers[TOKEN_HEADER] = token.value
        response = yield request
        if response.status_code != HTTPStatus.UNAUTHORIZED:
            session.accepted()
            return
        newer = await session.renewed_after(token, response, request.extensions)
        if newer is not None and not request.extensions.get(ONCE):
            request.headers[TOKEN_HEADER] = newer.value
            response = yield request
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                session.accepted()

    def ready(self, project_id: str) -> "_Ready | None":
        """Return what signs a request now; None where it cannot or must wait. See ``handler.vbs.lean``."""
        if self._account.bound and project_id != self._home:
            return None
        key = None if self._account.bound else project_id
        session = self._sessions.get(key)
        token = session.fresh() if session is not None else None
        if session is None or token is None or (line := token_line(token.value)) is None:
            return None
        self._sessions.move_to_end(key)
        return _Ready(session, token, line)

    async def catalogue(self) -> Catalogue:
        """Return the catalogue of the latest token of our own project. Raises ``ApiError``."""
        if self._catalogue is None:
            await self._session(self._home).current()
        return self._catalogue or Catalogue(self._home)

    def _check_bound(self, project_id: str | None) -> None:
        """Raise ``ApiError`` if our tokens are of one project only, and this is another one."""
        if self._account.bound and self._home is not None and project_id not in (None, self._home):
            text = f"sign-in: the credential is for project {self._home} only, not for {project_id}"
            raise ApiError(Category.DENIED, text, status=HTTPStatus.FORBIDDEN.value)

    def _session(self, project_id: str | None) -> "_Session":
        if self._account.bound:
            project_id = None
        session = self._sessions.get(project_id)
        if session is None:
            if len(self._sessions) >= _MAX_PROJECTS:
                del self._sessions[self._dispensable()]
            session = self._sessions[project_id] = _Session(self, project_id, self._clock)
        self._sessions.move_to_end(project_id)
        return session

    def _dispensable(self) -> str | None:
        """Return the project to forget: the longest unused one without a token, or else with one."""
        without = (project_id for project_id, session in self._sessions.items() if not session.in_use)
        return next(without, next(iter(self._sessions)))

    def admit(self, project_id: str | None) -> None:
        """Count a sign-in for a project that never had a token. Raises ``ApiError`` if there are too many.

        It is ``throttled``: the message is delayed, and messages of other projects go on.
        """
        if project_id in (None, self._home):
            return
        now = self._clock()
        self._new = min(_NEW_BURST, self._new + (now - self._new_at) * _NEW_PER_SECOND)
        self._new_at = now
        if self._new < 1:
            text = "sign-in: too many new projects at once; the message is delayed"
            raise ApiError(Category.THROTTLED, text, retry_after=1.0)
        self._new -= 1

    async def ask(self, project_id: str | None) -> Grant:
        """Sign in for a project. Before the first success: one at a time, and none during a pause.

        The account is judged by its own project before a stranger's: if it gets a token there, the refusal of
        another project is that project's (403). Only if its own project is refused too, the account is (401).
        """
        if self._verified:
            return await self._sign_in_verified(project_id)
        async with self._lock:
            if self._verified:
                return await self._sign_in_verified(project_id)
            return await self._sign_in_unverified(project_id)

    async def _sign_in_verified(self, project_id: str | None) -> Grant:
        try:
            return await self._sign_in_for(project_id)
        except ApiError as error:
            if error.category is not Category.DENIED:
                raise
            if project_id in (None, self._home):
                self._refused(error)
                raise
            if self._home_works:
                await self._judge_by_home(error)
            raise replace(error, status=HTTPStatus.FORBIDDEN.value) from None

    async def _judge_by_home(self, refusal: ApiError) -> None:
        """Sign in to our own project. Raises ``ApiError`` if it is refused too: then the account is."""
        try:
            await self._sign_in_home()
        except ApiError as error:
            if error.category is Category.DENIED:
                self._refused(refusal)
                self._refused(error)
            raise

    async def _sign_in_unverified(self, project_id: str | None) -> Grant:
        self._pause.check()
        try:
            grant = await self._sign_in_home()
        except ApiError as error:
            if error.category is not Category.DENIED:
                raise
            self._refused(error)
            if project_id in (None, self._home):
                raise
            return await self._sign_in_instead(project_id, error)
        if project_id in (None, self._home):
            return grant
        return await self._sign_in_stranger(project_id)

    async def _sign_in_stranger(self, project_id: str | None) -> Grant:
        """Sign in for a project after our own was accepted: a refusal is that project's."""
        try:
            return await self._sign_in_to(project_id)
        except ApiError as error:
            if error.category is Category.DENIED:
                raise replace(error, status=HTTPStatus.FORBIDDEN.value) from None
            raise

    async def _sign_in_home(self) -> Grant:
        """Sign in to our own project, which may be configured by its name; the answer has its id."""
        try:
            grant = await self._sign_in(self._account.home(), catalogue=True)
        except ApiError as error:
            self._home_works = self._home_works and error.category is not Category.DENIED
            raise
        self._catalogue = grant.catalogue
        self._home = self._home or grant.catalogue.project_id
        self._home_works = True
        self._accepted()
        return grant

    async def _sign_in_instead(self, project_id: str | None, refusal: ApiError) -> Grant:
        """Sign in for a project although our own is refused: if that succeeds, the account is not refused."""
        try:
            grant = await self._sign_in_to(project_id)
        except ApiError as error:
            if error.category is Category.DENIED:
                self._refused(error)
            raise refusal from None
        self._accepted()
        return grant

    def _accepted(self) -> None:
        self._verified = True
        self._pause.clear()

    def _refused(self, error: ApiError) -> None:
        """Pause all sign-ins: each refusal of the account counts toward its lock."""
        self._verified = False
        self._pause.begin(error)

    async def _sign_in_for(self, project_id: str | None) -> Grant:
        if project_id in (None, self._home):
            return await self._sign_in_home()
        return await self._sign_in_to(project_id)

    async def _sign_in_to(self, project_id: str | None) -> Grant:
        return await self._sign_in({"project": {"id": project_id}})

    async def _sign_in(self, scope: Document | None, *, catalogue: bool = False) -> Grant:
        return await sign_in(
            self._client, self._account, scope, self._timeout, self._notify, catalogue=catalogue
        )


class _Session:
    """The token of one project, with at most one sign-in for it in progress."""

    def __init__(self, auth: PasswordAuth, project_id: str | None, clock: Clock) -> None:
        self._auth = auth
        self._project_id = project_id
        self._clock = clock
        self._token: _Token | None = None
        self._known = False
        self._renewal: asyncio.Task[_Token] | None = None
        self._refused = Pause(_REFUSED_FIRST, _REFUSED_LONGEST, clock)
        self._failed = Pause(_FAILED_FIRST, _FAILED_LONGEST, clock)
        self._rejected_since: float | None = None

    @property
    def in_use(self) -> bool:
        """Whether it has a token that is valid, or is being asked for."""
        valid = self._token is not None and self._clock() < self._token.ends_at
        return valid or self._renewal is not None

    def fresh(self) -> _Token | None:
        """Return the token, unless there is none or it expires soon."""
        token = self._token
        return token if token is not None and self._clock() < token.renew_at else None

    async def current(self) -> _Token:
        """Return a token: renewed if it expires soon, or the old one while it is valid and renewal fails."""
        if (fresh := self.fresh()) is not None:
            return fresh
        token = self._token
        try:
            return await self._renewed()
        except ApiError:
            if token is not None and self._clock() < token.ends_at:
                return token
            raise

    async def replacement_of(self, refused: _Token) -> _Token | None:
        """Return another token than the refused one, or None while no renewal is allowed."""
        if self._token is not None and self._token is not refused:
            return self._token
        if self._renewal is not None:
            return await self._renewed()
        now = self._clock()
        if self._rejected_since is not None and now - self._rejected_since < _REJECTED_PAUSE:
            return None
        self._token = None
        self._rejected_since = now
        return await self._renewed()

    async def renewed_after(
        self, refused: _Token, response: httpx.Response, extensions: dict[str, Any]
    ) -> _Token | None:
        """Return a newer token after a 401, or None; ``RENEWED`` says so of a request that is sent once."""
        extensions[ANSWERED] = True
        # Read the answer first: the sign-in may need the connection that this answer occupies.
        bound(response)
        await response.aread()
        extensions[SIGNING_IN] = True
        newer = await self.replacement_of(refused)
        extensions[SIGNING_IN] = False
        if newer is not None and extensions.get(ONCE):
            extensions[RENEWED] = True
        return newer

    def accepted(self) -> None:
        """Record that the API accepted a token."""
        self._rejected_since = None

    async def _renewed(self) -> _Token:
        if self._renewal is None:
            self._refused.check()
            self._failed.check()
            if not self._known:
                self._auth.admit(self._project_id)
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(self._forget)
        try:
            # If one caller is cancelled, the sign-in must go on for the others.
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
        self._known = True
        self._refused.clear()
        self._failed.clear()
        now = self._clock()
        margin = min(_MARGIN, grant.lifetime / 5)
        self._token = _Token(grant.token, now + max(grant.lifetime - margin, 1.0), now + grant.lifetime)
        return self._token


class _Ready(NamedTuple):
    """A token of a project, for one request."""

    session: _Session
    token: _Token
    line: bytes

    def __repr__(self) -> str:
        """Return a text without the token."""
        return f"{type(self).__name__}({self.session!r})"

    def accepted(self) -> None:
        self.session.accepted()

    async def refused(self, response: httpx.Response, extensions: dict[str, Any]) -> None:
        await self.session.renewed_after(self.token, response, extensions)
