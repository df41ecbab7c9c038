"""The guard in front of all pages: who may ask, from where, and the headers of every answer.

It refuses, in this order:

- a Host header that is not of this machine, where no sign-in is needed: a page of another site, whose name
  resolves to the loopback address (DNS rebinding), would otherwise read everything;
- a change that a page of another origin sends: by ``Origin``, and by ``Sec-Fetch-Site``;
- a caller that has not signed in, where ``CONSOLE_TOKEN`` is set: by the session's cookie, or for programs by
  ``Authorization: Bearer``;
- a change by a caller who has signed in with ``CONSOLE_READ_TOKEN``.

Forms carry the session's CSRF token besides, which ``forms`` checks. Changes by the API have the content type
``application/json`` instead, which no form can send.
"""

from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.console.web.sessions import COOKIE, SECONDS, Session, Sessions
from handler.console.web.sign_in import SignIn
from handler.loopback import is_loopback

API = "/api/"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
_OPEN = (SIGN_IN, "/static/")
"""Paths that need no sign-in."""
_READING = frozenset({"GET", "HEAD"})
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers send "Origin: null" with forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Caller(NamedTuple):
    """Who asks: the session, a short name for the audit lines, whether they may act, or are a program."""

    session: Session
    name: str
    may_act: bool
    by_token: bool = False


class Guard:
    """An ASGI application around another one, which finds the ``Caller`` in ``request.state.caller``."""

    def __init__(self, app: ASGIApp, sessions: Sessions, sign_in: SignIn) -> None:
        self._app = app
        self._sessions = sessions
        self._sign_in = sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        known = self._sessions.from_cookie(request.cookies.get(COOKIE, ""))
        session = known or self._sessions.begin()
        if known is None and not request.url.path.startswith((API, "/static/")):
            request.state.new_session = session
        answer = self._refusal(request, session)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), request)
            await send(message)

        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request, session: Session) -> Response | None:
        """Return the answer to a request that is refused; None if it may pass."""
        if not self._sign_in.needed and not _host_is_ours(request):
            return refused(request, HTTPStatus.MISDIRECTED_REQUEST, _OTHER_HOST)
        if request.method not in _READING and not _same_origin(request):
            return refused(request, HTTPStatus.FORBIDDEN, _OTHER_SITE)
        may_act = not self._sign_in.needed or session.role == "act"
        request.state.caller = Caller(session, _name(request, session), may_act)
        if self._sign_in.needed and not session.role and not request.url.path.startswith(_OPEN):
            return self._by_token(request, session)
        return _only_reading(request)

    def _by_token(self, request: Request, session: Session) -> Response | None:
        """Let a program with a token pass, or ask for a sign-in."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            if request.url.path.startswith(API):
                return _with_challenge(refused(request, HTTPStatus.UNAUTHORIZED, _NO_TOKEN))
            path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{SIGN_IN}?next={quote(path)}", HTTPStatus.SEE_OTHER)
        address = client_of(request)
        if seconds := self._sign_in.wait_seconds(address):
            return too_many(request, seconds)
        role = self._sign_in.role_of(token.strip(), address)
        if role is None:
            return _with_challenge(refused(request, HTTPStatus.UNAUTHORIZED, "the token is wrong"))
        name = f"a program at {address}"
        request.state.caller = Caller(session, name, may_act=role == "act", by_token=True)
        return _only_reading(request)

    def _add_headers(self, headers: MutableHeaders, request: Request) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        session: Session | None = getattr(request.state, "new_session", None)
        if session is not None:
            secure = "; Secure" if request.headers.get("x-forwarded-proto") == "https" else ""
            headers.append(
                "Set-Cookie",
                f"{COOKIE}={self._sessions.to_cookie(session)}; Path=/; Max-Age={SECONDS}; HttpOnly; "
                f"SameSite=Strict{secure}",
            )


_OTHER_HOST = (
    "the Host header is not of this machine; open the page at 127.0.0.1 or localhost, or set CONSOLE_TOKEN"
)
_OTHER_SITE = "a page of another site sent this; nothing was done"
_READS = "CONSOLE_READ_TOKEN may only read, and nothing was done; sign in with CONSOLE_TOKEN to act"
_NO_TOKEN = "sign in: send the header Authorization: Bearer with CONSOLE_TOKEN"  # noqa: S105 - a sentence


def _only_reading(request: Request) -> Response | None:
    """Refuse a change by a caller who may only read; signing in and out is none."""
    caller: Caller = request.state.caller
    if caller.may_act or request.method in _READING or request.url.path in (SIGN_IN, SIGN_OUT):
        return None
    return refused(request, HTTPStatus.FORBIDDEN, _READS)


def refused(request: Request, status: HTTPStatus, text: str) -> Response:
    """Return a refusal, as JSON to a request of the API."""
    if request.url.path.startswith(API):
        return JSONResponse({"error": text}, status)
    return PlainTextResponse(f"{text}\n", status)


def too_many(request: Request, seconds: int) -> Response:
    """Return the refusal of a further try to sign in."""
    answer = refused(
        request, HTTPStatus.TOO_MANY_REQUESTS, f"too many wrong tokens; try again in {seconds} s"
    )
    answer.headers["Retry-After"] = str(seconds)
    return answer


def client_of(request: Request) -> str:
    """Return the address of the client."""
    return request.client.host if request.client else "unknown"


def _with_challenge(answer: Response) -> Response:
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _name(request: Request, session: Session) -> str:
    return f"session {session.id[:8]} at {client_of(request)}"


def _host_is_ours(request: Request) -> bool:
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return is_loopback(host or "")


def _same_origin(request: Request) -> bool:
    """Return whether a change comes from our own pages, or from a program, which names no origin."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    return origin.partition("://")[2].lower() == request.headers.get("host", "").lower()
