"""The usual create call without httpx's objects: the head of its request is prepared once for an endpoint.

A reader may skip this module. ``client`` makes the same call with httpx's requests and responses, and does so
wherever this module returns None: over another transport than ``Pool``, as through a proxy; while a sign-in
has to wait; in a function. The head is taken from the request that ``client`` builds and the sign-in signs,
so that both send the same bytes. (``tests/unit/vbs/test_lean.py``)
"""

import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import httpx

from handler.vbs.exchange import Answer, Attempt
from handler.vbs.microversions import Microversion
from handler.vbs.transport.body import Whole, read_body
from handler.vbs.transport.unanswered import ONCE

if TYPE_CHECKING:
    from handler.vbs.transport.pool import Origin, Pool

Build = Callable[[str, str, bytes, Microversion], httpx.Request]
"""Builds the request of a create call: endpoint's root, project, body, microversion."""

_PROJECT = uuid.uuid4().hex
"""Stands for a project in what is prepared; no URL contains it by chance."""

_MOST_ENDPOINTS = 64


class Ready(Protocol):
    """A sign-in that can sign one request at once. It takes the answer, as its auth flow does."""

    @property
    def line(self) -> bytes:
        """The header with the token, and its line's end; empty without a token."""

    def accepted(self) -> None:
        """Record an answer other than 401."""

    async def refused(self, response: httpx.Response, extensions: dict[str, Any]) -> None:
        """Take a 401, whose body may be read. ``extensions`` are the request's. Raises ``ApiError``."""


class Prepared(Protocol):
    """A request from which the parts are missing that differ from call to call."""

    def message(self, project_id: str, line: bytes, body: bytes) -> bytes:
        """Return the bytes of a whole request."""


@runtime_checkable
class Pooled(Protocol):
    """An HTTP client that may have a pool."""

    def pool(self, url: httpx.URL) -> "Pool | None":
        """Return the pool that carries requests to a URL directly; None if something else does."""


class LeanCreates:
    """Makes create calls over the pool of ``client``; ``build`` is the client's.

    ``auth`` has the methods ``ready``, which returns None where it has to wait, and perhaps ``prepare``. A
    sign-in without the first, such as a function's, makes no lean calls.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        auth: httpx.Auth | None,
        build: Build,
        timeouts: Mapping[str, float | None],
    ) -> None:
        self._client = client if isinstance(client, Pooled) else None
        self._ready: Callable[[str], Ready | None] | None = (
            _no_sign_in if auth is None else getattr(auth, "ready", None)
        )
        self._prepare: Callable[[httpx.Request, str], Prepared] = getattr(auth, "prepare", _Plain)
        self._build = build
        self._timeouts = timeouts
        self._endpoints: dict[tuple[str, Microversion], _Endpoint | None] = {}

    def call(self, root: str, project_id: str, version: Microversion, body: bytes) -> "LeanCall | None":
        """Return a call that is ready to be sent; None where httpx's request has to be sent instead.

        ``project_id`` must be as it is in the URL.
        """
        if self._client is None or self._ready is None:
            return None
        try:
            endpoint = self._endpoints[root, version]
        except KeyError:
            endpoint = self._endpoint(self._client, root, version)
        if endpoint is None or (ready := self._ready(project_id)) is None:
            return None
        message = endpoint.request.message(project_id, ready.line, body)
        return LeanCall(endpoint.pool, endpoint.origin, endpoint.host, message, self._timeouts, ready)

    def _endpoint(self, client: Pooled, root: str, version: Microversion) -> "_Endpoint | None":
        """Prepare an endpoint, and keep it."""
        if len(self._endpoints) >= _MOST_ENDPOINTS:
            self._endpoints.clear()
        request = self._build(root, _PROJECT, b"", version)
        url = request.url
        endpoint = None
        if (pool := client.pool(url)) is not None:
            origin = (url.scheme, url.host, url.port)
            endpoint = _Endpoint(pool, origin, url.host, self._prepare(request, _PROJECT))
        self._endpoints[root, version] = endpoint
        return endpoint


class LeanCall(NamedTuple):
    """A create call that is ready to be sent, once."""

    pool: "Pool"
    origin: "Origin"
    host: str
    message: bytes
    timeouts: Mapping[str, float | None]
    ready: Ready

    def __repr__(self) -> str:
        """Return a text without the message, which has a token."""
        return f"{type(self).__name__}({self.host!r})"

    def attempt(self) -> Attempt:
        """Return what is to be known of the call while it runs."""
        return Attempt("create", "POST", self.host, {ONCE: True})

    async def send(self, attempt: Attempt) -> Answer:
        """Send the request and read the answer. An answer that is not usual is read by httpx."""
        status, headers, stream = await self.pool.send(self.origin, self.message, self.timeouts)
        if status != HTTPStatus.UNAUTHORIZED:
            self.ready.accepted()
            if isinstance(stream, Whole):
                attempt.status = status
                return Answer(status, headers, stream.content)
        response = httpx.Response(status, headers=headers, stream=stream)
        try:
            if status == HTTPStatus.UNAUTHORIZED:
                await self.ready.refused(response, attempt.extensions)
            attempt.status = status
            return Answer(status, headers, await read_body(response))
        finally:
            await response.aclose()


class _Endpoint(NamedTuple):
    pool: "Pool"
    origin: "Origin"
    host: str
    request: Prepared


NO_LENGTH = b"Content-Length: 0\r\n"


def length(body: bytes) -> bytes:
    """Return the header that replaces ``NO_LENGTH``."""
    return b"Content-Length: %d\r\n" % len(body)


class _Plain:
    """A request without a signature: project, length, token and body are missing."""

    def __init__(self, request: httpx.Request, project: str) -> None:
        self._head = Gaps(head_of(request), project, NO_LENGTH)

    def message(self, project_id: str, line: bytes, body: bytes) -> bytes:
        return b"".join((self._head.filled(project_id.encode(), length(body)), line, b"\r\n", body))


class Gaps:
    """A text with gaps where marks were: the project's wherever it was, the others once."""

    def __init__(self, text: bytes, project: str, *marks: bytes) -> None:
        self._text = text.replace(b"%", b"%%").replace(project.encode(), b"%(0)b")
        for number, mark in enumerate(marks, 1):
            if text.count(mark) != 1:
                raise ValueError("a prepared request has a mark more or less often than once")
            self._text = self._text.replace(mark, b"%%(%d)b" % number)
        self._names = [b"%d" % number for number in range(len(marks) + 1)]

    def filled(self, *values: bytes) -> bytes:
        """Return the text with a value in each gap."""
        return self._text % dict(zip(self._names, values, strict=True))


def head_of(request: httpx.Request) -> bytes:
    """Return the head of a request without the empty line."""
    from handler.vbs.transport.pool import encoded  # its parser may not be installed

    return encoded(request).removesuffix(b"\r\n")


class _NoSignIn:
    line = b""

    def accepted(self) -> None: ...

    async def refused(self, response: httpx.Response, extensions: dict[str, Any]) -> None: ...


_NO_SIGN_IN = _NoSignIn()


def _no_sign_in(_project_id: str) -> Ready:
    return _NO_SIGN_IN
