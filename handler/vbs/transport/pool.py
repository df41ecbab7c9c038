"""Keep-alive connections to the API, as an httpx transport. It knows for certain whether a request has left.

``ConnectError``, ``ConnectTimeout`` and ``PoolTimeout`` are raised before the first byte is written, what
comes after it is another error: on that rests whether a call without an answer is in doubt.

Why not httpx's own: its pool looks at every idle connection at each request, so that more in flight makes it
slower. CPU per create with 64 in flight: 2.4 ms, and 0.09 ms here (``python -m tests.bench.transports``).
aiohttp's behind httpx took 0.19 ms, and told most losses as a connection that was never made.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

import httpx
from aiohappyeyeballs import AddrInfoType, start_connection

from handler.vbs.transport.body import Whole
from handler.vbs.transport.connection import Connection, Head, Headers

Origin = tuple[str, str, int | None]
"""Scheme, host and port."""

_PORTS = {"http": 80, "https": 443}
_SECOND_ADDRESS = 0.25
"""Seconds until the next address of a host is tried beside the first one (RFC 8305)."""


class Pool(httpx.AsyncBaseTransport):
    """At most ``limit`` requests at once; connections idle for ``keep_alive`` seconds are not used again."""

    def __init__(self, context: ssl.SSLContext, *, limit: int, keep_alive: float) -> None:
        self._context = context
        self._keep_alive = keep_alive
        self._room = asyncio.Semaphore(limit)
        self._idle: dict[Origin, deque[Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, whose stream must be closed."""
        message = encoded(request)
        timeouts = request.extensions.get("timeout", {})
        await self._enter(timeouts.get("pool"))
        use = _Use(self, (request.url.scheme, request.url.host, request.url.port), timeouts)
        try:
            status, headers = await use.ask(message)
        except BaseException:
            use.end()
            raise
        return httpx.Response(status, headers=headers, stream=use.whole(headers) or use, request=request)

    async def aclose(self) -> None:
        """Close what is idle."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _enter(self, timeout: float | None) -> None:
        if not self._room.locked():
            await self._room.acquire()  # at once
            return
        try:
            async with asyncio.timeout(timeout):
                await self._room.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection was free in time") from None

    async def take(self, origin: Origin, timeout: float | None) -> Connection:
        """Return a connection that may be used, the one used last where there are several."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and not self._is_old(connection):
                return connection
            connection.close()
        return await self._connect(origin, timeout)

    def leave(self, origin: Origin, connection: Connection | None) -> None:
        """Take a connection back; what nobody has used for long is closed meanwhile."""
        self._room.release()
        if connection is None:
            return
        if not connection.usable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        idle = self._idle.setdefault(origin, deque())
        while idle and self._is_old(idle[0]):
            idle.popleft().close()
        idle.append(connection)

    def _is_old(self, connection: Connection) -> bool:
        return time.monotonic() - connection.idle_since > self._keep_alive

    async def _connect(self, origin: Origin, timeout: float | None) -> Connection:
        scheme, host, port = origin
        if scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{scheme} is not spoken here")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                places = await _places(host, port or _PORTS[scheme])
                _, connection = await loop.create_connection(
                    Connection,
                    # Not left to the loop, since uvloop's would try one address after the other.
                    sock=await start_connection(places, happy_eyeballs_delay=_SECOND_ADDRESS),
                    ssl=self._context if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection to {host} in time") from None
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error
        return connection


class _Use(httpx.AsyncByteStream):
    """One request's use of a connection, and the stream of its answer's body."""

    def __init__(self, pool: Pool, origin: Origin, timeouts: Mapping[str, float | None]) -> None:
        self._pool = pool
        self._origin = origin
        self._timeouts = timeouts
        self._connection: Connection | None = None
        self._over = False

    async def ask(self, message: bytes) -> Head:
        self._connection = await self._pool.take(self._origin, self._timeouts.get("connect"))
        return await self._connection.ask(message, self._timeouts.get("read"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            async for part in self._connection.body(self._timeouts.get("read")):
                yield part

    def whole(self, headers: Headers) -> Whole | None:
        """Return the body, and end the use, where all of it came with the head and as it is."""
        if self._connection is None or any(name.lower() == b"content-encoding" for name, _ in headers):
            return None
        content = self._connection.whole()
        if content is None:
            return None
        self.end()
        return Whole(content)

    async def aclose(self) -> None:
        self.end()

    def end(self) -> None:
        if not self._over:
            self._over = True
            self._pool.leave(self._origin, self._connection)


async def _places(host: str, port: int) -> Sequence[AddrInfoType]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def encoded(request: httpx.Request) -> bytes:
    """Return a request as it is sent. Raises ``httpx.LocalProtocolError`` where a header would be two."""
    first = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
    lines = [first, *[name + b": " + value for name, value in request.headers.raw]]
    head = b"\r\n".join(lines)
    if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines):
        raise httpx.LocalProtocolError("a line break within a header")
    return b"".join((head, b"\r\n\r\n", request.content))
