"""A pool of keep-alive connections, as an httpx transport; its errors show whether a request has left.

``ConnectError``, ``ConnectTimeout`` and ``PoolTimeout`` are raised only before the first byte is written;
later errors have other types. This decides whether a call without an answer is in doubt.

httpx's own pool scans every idle connection at each request, so it slows down with more requests in flight.
CPU per create with 64 in flight: 2.4 ms with httpx's pool, 0.09 ms here
(``python -m tests.bench.transports``). aiohttp's pool behind httpx took 0.19 ms, and reported most lost
answers as connections that were never made.
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
    """Sends at most ``limit`` requests at once; reuses a connection only within ``keep_alive`` seconds."""

    def __init__(self, context: ssl.SSLContext, *, limit: int, keep_alive: float) -> None:
        self._context = context
        self._keep_alive = keep_alive
        self._slots = asyncio.Semaphore(limit)
        self._idle: dict[Origin, deque[Connection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer; the caller must close the answer's stream."""
        origin = (request.url.scheme, request.url.host, request.url.port)
        timeouts = request.extensions.get("timeout", {})
        status, headers, stream = await self.send(origin, encoded(request), timeouts)
        return httpx.Response(status, headers=headers, stream=stream, request=request)

    async def send(
        self, origin: Origin, message: bytes, timeouts: Mapping[str, float | None]
    ) -> tuple[int, Headers, httpx.AsyncByteStream]:
        """Send the bytes of a whole request; return the answer's head, and its body's stream to be closed.

        The stream is a ``Whole`` where the body came with the head: there is nothing to close then.
        """
        await self._acquire_slot(timeouts.get("pool"))
        exchange = _Exchange(self, origin, timeouts)
        try:
            status, headers = await exchange.ask(message)
            return status, headers, exchange.whole() or exchange
        except BaseException:
            exchange.end()
            raise

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _acquire_slot(self, timeout: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # does not wait
            return
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection of the pool was free in time") from None

    async def acquire(self, origin: Origin, timeout: float | None) -> Connection:
        """Return a usable connection: the idle one that was used last, or a new one."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.usable and connection.quiet and not self._is_old(connection):
                return connection
            connection.close()
        return await self._connect(origin, timeout)

    def release(self, origin: Origin, connection: Connection | None) -> None:
        """Take a connection back, and close connections that have been idle for too long."""
        self._slots.release()
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
            raise httpx.UnsupportedProtocol(f"the URL's scheme is {scheme!r}, not http or https")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                addresses = await _addresses(host, port or _PORTS[scheme])
                _, connection = await loop.create_connection(
                    Connection,
                    # Not left to the loop, since uvloop would try the addresses one after the other.
                    sock=await start_connection(addresses, happy_eyeballs_delay=_SECOND_ADDRESS),
                    ssl=self._context if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection to {host} was made in time") from None
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error
        return connection


class _Exchange(httpx.AsyncByteStream):
    """One request on a connection of the pool, and the stream of its answer's body."""

    def __init__(self, pool: Pool, origin: Origin, timeouts: Mapping[str, float | None]) -> None:
        self._pool = pool
        self._origin = origin
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._released = False

    async def ask(self, message: bytes) -> Head:
        self._connection = await self._pool.acquire(self._origin, self._timeouts.get("connect"))
        return await self._connection.ask(message, self._timeouts.get("read"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._connection is not None:
            async for part in self._connection.body(self._timeouts.get("read")):
                yield part

    def whole(self) -> Whole | None:
        """Return the body and release the connection if all of it came with the head and is not encoded."""
        content = self._connection.whole() if self._connection is not None else None
        if content is None:
            return None
        self.end()
        return Whole(content)

    async def aclose(self) -> None:
        self.end()

    def end(self) -> None:
        if not self._released:
            self._released = True
            self._pool.release(self._origin, self._connection)

    def __del__(self) -> None:
        """End an exchange that was forgotten; the garbage collector may run in any thread."""
        if not self._released and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.end)


async def _addresses(host: str, port: int) -> Sequence[AddrInfoType]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def encoded(request: httpx.Request) -> bytes:
    """Return the bytes of a request. Raises ``httpx.LocalProtocolError`` if a header has a line break."""
    first = b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)
    lines = [first, *[name + b": " + value for name, value in request.headers.raw]]
    head = b"\r\n".join(lines)
    if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines):
        raise httpx.LocalProtocolError("a header of the request has a line break")
    return b"".join((head, b"\r\n\r\n", request.content))
