"""The HTTP server of ``HTTP_ADDRESS``: /healthz, /readyz and /metrics.

The answers come from memory, and a supervisor's from its workers: no request waits for the broker, the ledger
or the API. The server is our own, since three fixed paths need no framework: one request a connection, a
bounded head, a deadline.

Slow clients keep no other client from its answer. Each connection is served at once, and none waits for
another. If too many are open, the oldest one is closed: a probe sends its request as soon as it is connected.
"""

import asyncio
import contextlib
import errno
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from handler.errors import SettingsError

log = logging.getLogger(__name__)

_HEAD_LIMIT = 8192
_HEAD_SECONDS = 2.0
_SECONDS = 5.0
_CONNECTIONS = 128
_BACKLOG = 512
"""Connections that the kernel accepts while the event loop is busy."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


Page = Callable[[], Answer] | Callable[[], Awaitable[Answer]]


async def answered(page: Page) -> Answer:
    """Return a page's answer; an error within the program is logged, and answered with 500."""
    try:
        answer = page()
        return answer if isinstance(answer, Answer) else await answer
    except Exception:
        log.exception(
            "answered 500, an error within the program: please report it", extra={"action": "http.bug"}
        )
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"an error within the program, see the log\n")


def healthy() -> Answer:
    """Answer /healthz: answering proves that the event loop runs."""
    return Answer(HTTPStatus.OK, b"ok\n")


def document(status: HTTPStatus, content: Mapping[str, object]) -> Answer:
    """Make a JSON response."""
    return Answer(status, json.dumps(content).encode() + b"\n", JSON)


class Server:
    """Answers GET and HEAD requests for a few pages."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open: dict[asyncio.StreamWriter, None] = {}
        """The open connections, the oldest first."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: read one request, answer it, close."""
        if len(self._open) >= _CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_SECONDS):
                    await self._exchange(reader, writer)
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()  # a client that does not read its answer would keep it open

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer, method = Answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b"too large\n"), b""
        else:
            method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
            answer = await self._answer(method, rest.partition(b" ")[0])
        writer.write(_head(answer) + (b"" if method == b"HEAD" else answer.body))
        await writer.drain()

    async def _answer(self, method: bytes, target: bytes) -> Answer:
        page = self._pages.get(target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return Answer(HTTPStatus.NOT_FOUND, b"/healthz, /readyz, /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET only\n")
        return await answered(page)


def _head(answer: Answer) -> bytes:
    lines = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def _why(error: OSError | OverflowError) -> str:
    """Return why the program cannot listen somewhere, and what to choose."""
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved; choose an address of this machine"
    return _REASONS.get(getattr(error, "errno", None) or 0, f"{error}; choose another address")


_REASONS = {
    errno.EADDRINUSE: "another program listens there already; choose a free port",
    errno.EADDRNOTAVAIL: "it is no address of this machine; choose one of it",
    errno.EACCES: "this user may not use the port; choose one above 1023",
}


@asynccontextmanager
async def listening(address: str, pages: Mapping[str, Page]) -> AsyncIterator[int]:
    """Serve the pages at ``host:port``; yields the port. Raises ``SettingsError`` where it cannot listen."""
    host, _, port = address.rpartition(":")
    connections = Server(pages)
    try:
        server = await asyncio.start_server(
            connections.serve, host.strip("[]") or None, int(port), limit=_HEAD_LIMIT, backlog=_BACKLOG
        )
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"HTTP_ADDRESS: cannot listen at {address}: {_why(error)}, such as HTTP_ADDRESS=127.0.0.1:8080"
        ) from None
    async with server:
        chosen = int(server.sockets[0].getsockname()[1])
        log.info("listening at %s:%d", host or "*", chosen, extra={"action": "http.listening"})
        yield chosen
