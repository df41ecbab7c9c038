"""One HTTP/1.1 connection, for one request at a time: httptools parses, this keeps bounds and books.

Where anything odd has happened a connection is never used again: an answer that was not read to its end,
bytes that nobody asked for, a server that wants to close.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httptools
import httpx

HEADER_LIMIT = 64 * 1024
"""Bytes of an answer's head: IAM's tokens have up to 16,384, and the parser itself has no bound."""

_BUFFER_LIMIT = 256 * 1024
"""Bytes of a body that may wait for their reader; more are left in the socket until some are taken."""

_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})

Headers = list[tuple[bytes, bytes]]
Head = tuple[int, Headers]
"""Status and headers."""


class Connection(asyncio.Protocol):
    """What waits for the server raises ``httpx.ReadTimeout``, ``ReadError`` or ``RemoteProtocolError``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._news: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self.idle_since = 0.0
        self._keep = True
        self._begin()
        self._complete = True  # nothing was asked yet, so nothing may be answered

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head: Head | None = None
        self._headers: Headers = []
        self._head_size = 0
        self._body: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: the answer before it came whole, and both sides stay."""
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and self._error is None and self._complete and self._keep and not self._body

    async def ask(self, message: bytes, timeout: float | None) -> Head:
        """Send a whole request and return the head of its answer; ``timeout`` is seconds."""
        self._begin()
        if self._transport is not None:
            self._transport.write(message)
        while self._head is None:
            await self._wait(timeout)
        return self._head

    def whole(self) -> bytes | None:
        """Return the body where all of it is there, or None."""
        if not self._complete:
            return None
        body = b"".join(self._body)
        self._body.clear()
        if self._transport is not None:
            self._transport.resume_reading()  # another request may follow
        return body

    async def body(self, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the answer's body as it comes; ``timeout`` is seconds from one part to the next."""
        while True:
            while self._body:
                part = self._body.popleft()
                self._buffered -= len(part)
                yield part
            if self._transport is not None:
                self._transport.resume_reading()  # at the end too: another request may follow
            if self._complete:
                return
            await self._wait(timeout)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, timeout: float | None) -> None:
        """Wait for news of the server. Raises what has ended the connection before the answer was whole."""
        if self._error is None:
            self._news = self._loop.create_future()
            timer = None if timeout is None else self._loop.call_later(timeout, self._time_out, timeout)
            try:
                await self._news
            finally:
                self._news = None
                if timer is not None:
                    timer.cancel()
        if self._error is not None and not self._complete:
            raise self._error

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        """End the connection; the first reason counts."""
        self._error = self._error or error
        self.close()
        self._tell()

    def _time_out(self, seconds: float) -> None:
        self._fail(httpx.ReadTimeout(f"nothing came within {seconds:g} s"))

    # asyncio calls these …

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class

    def data_received(self, data: bytes) -> None:
        """Parse, within the bounds."""
        if self._head is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(f"not the answer to a request: {error}"))
        if self._head is None and self._head_size > HEADER_LIMIT:
            self._fail(httpx.RemoteProtocolError(f"a head of more than {HEADER_LIMIT} bytes"))
        if self._buffered > _BUFFER_LIMIT and self._transport is not None:
            self._transport.pause_reading()
        self._tell()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits; a body that was announced without a length has come to its end."""
        if error is None and self._head is not None and not self._told_length():
            self._complete = True
        if error is None:
            self._fail(httpx.RemoteProtocolError("the server closed before its answer was whole"))
        else:
            self._fail(httpx.ReadError(str(error)))

    def _told_length(self) -> bool:
        return any(name.lower() in _LENGTHS for name, _ in self._headers)

    # … and httptools these; what they raise ends the connection.

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for."""
        if self._complete:
            raise ValueError("nothing was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the head, unless a final one is still to follow (``100 Continue``)."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = (status, self._headers)
        self._headers = self._headers if self._head else []

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(part)
        self._buffered += len(part)

    def on_message_complete(self) -> None:
        """Note the end, unless a final answer is still to follow."""
        if self._head is not None:
            self._complete = True
            self._keep = self._parser.should_keep_alive()
