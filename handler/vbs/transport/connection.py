"""One HTTP/1.1 connection, for one request at a time; httptools parses the answers.

httptools is strict. An answer that it refuses is parsed again by h11, as httpx's own transport would, so that
both transports read the same answers.

The connection enforces size limits and tracks its state. It is not reused after anything unexpected: an
answer that was not read to its end, bytes without a request, or a server that wants to close.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import httptools
import httpx

from handler.vbs.transport.framing import UNKNOWN, framing

if TYPE_CHECKING:
    from handler.vbs.transport.second_parser import SecondParser

HEADER_LIMIT = 100 * 1024
"""Bytes of an answer's head, or after it without any of the body, such as trailers; httpx's own transport has
the same limit. IAM's tokens have up to 16,384 bytes, and httptools has no limit itself."""

_BUFFER_LIMIT = 256 * 1024
"""Bytes of a body that are buffered; reading from the socket pauses until some of them are consumed."""

_REFUSED = (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError)
"""What the parsers raise, and our methods that they call."""

Headers = list[tuple[bytes, bytes]]
Head = tuple[int, Headers]
"""Status and headers."""


class Connection(asyncio.Protocol):
    """A connection to the server.

    Waiting for the server raises ``httpx.ReadTimeout``, ``ReadError`` or ``RemoteProtocolError``.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = select.poll()
        self._progress: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self.idle_since = 0.0
        self._keep = True
        self._begin()
        self._complete = True  # no request yet, so no answer is expected

    def _begin(self) -> None:
        self._parser: httptools.HttpResponseParser | SecondParser = httptools.HttpResponseParser(self)
        self._head: Head | None = None
        self._headers: Headers = []
        self._framing = UNKNOWN
        self._unframed = 0
        self._seen: bytes | None = b""
        """The answer so far, for the second parser; None if it is too long, or parsed a second time."""
        self._received = 0
        self._skip = 0
        self._body: deque[bytes] = deque()
        self._buffered = 0
        self._complete = False

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: the previous answer is complete and neither side has closed."""
        open_ = self._transport is not None and not self._transport.is_closing()
        return open_ and self._error is None and self._complete and self._keep and not self._body

    @property
    def quiet(self) -> bool:
        """Whether nothing has come that the loop has not read yet, such as an answer without a request.

        One system call: the loop may have been busy since, and would take it for the next answer.
        """
        return not self._unread.poll(0)

    async def ask(self, message: bytes, timeout: float | None) -> Head:
        """Send a whole request and return the head of its answer; ``timeout`` is in seconds for each read."""
        self._begin()
        if self._transport is not None:
            self._transport.write(message)
        while self._head is None:
            self._raise_error()
            await self._wait_for_server(timeout)
        return self._head

    def whole(self) -> bytes | None:
        """Return the body if all of it has arrived and it is not encoded, else None."""
        if not self._complete or self._framing.encoded:
            return None
        body = b"".join(self._body)
        self._body.clear()
        if self._transport is not None:
            self._transport.resume_reading()  # another request may follow
        return body

    async def body(self, timeout: float | None) -> AsyncIterator[bytes]:
        """Yield the answer's body as it arrives; ``timeout`` is the limit in seconds between two parts."""
        while True:
            while self._body:
                part = self._body.popleft()
                self._buffered -= len(part)
                yield part
            if self._transport is not None:
                self._transport.resume_reading()  # at the end too: another request may follow
            if self._complete:
                return
            self._raise_error()
            await self._wait_for_server(timeout)

    def close(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait_for_server(self, timeout: float | None) -> None:
        """Wait until the server sends something, or the connection ends."""
        self._progress = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._time_out, timeout)
        try:
            await self._progress
        finally:
            self._progress = None
            if timer is not None:
                timer.cancel()

    def _raise_error(self) -> None:
        """Raise the error that ended the connection before its answer was complete."""
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)

    def _fail(self, error: httpx.TransportError) -> None:
        """Close the connection; the first error is the one that is raised."""
        self._error = self._error or error
        self.close()
        self._wake()

    def _time_out(self, seconds: float) -> None:
        self._fail(httpx.ReadTimeout(f"the server sent nothing within {seconds:g} s"))

    # asyncio calls the methods below.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's classes do not derive from it
        if sock := transport.get_extra_info("socket"):
            self._unread.register(sock.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse, within the size limits."""
        if self._error is not None:
            return
        self._unframed += len(data)
        try:
            self._parse(data)
        except _REFUSED as error:
            self._fail(
                httpx.RemoteProtocolError(
                    f"the server sent something other than the answer to a request: {error}"
                )
            )
        if self._unframed > HEADER_LIMIT and not self._complete:
            part = "head" if self._head is None else "chunk extension or trailer"
            self._fail(
                httpx.RemoteProtocolError(f"the {part} of the answer is longer than {HEADER_LIMIT} bytes")
            )
        if self._buffered > _BUFFER_LIMIT and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def _parse(self, data: bytes) -> None:
        """Parse more of the answer. Raises one of ``_REFUSED``."""
        if self._seen is None:
            self._parser.feed_data(data)
            return
        begins = not self._seen and not self._complete
        self._seen = self._seen + data if self._seen else data
        if begins and not data.startswith(b"H"):
            raise ValueError("it does not begin with HTTP")  # httptools would skip empty lines
        try:
            self._parser.feed_data(data)
        except _REFUSED:
            if self._complete:
                raise  # it is surplus
            self._parse_again(self._seen)
        if len(self._seen or b"") > HEADER_LIMIT:
            self._seen = None

    def _parse_again(self, answer: bytes) -> None:
        """Parse the answer from its beginning with the second parser; skip the body that was received."""
        # Imported where it is used: hardly any answer needs it.
        from handler.vbs.transport.second_parser import SecondParser

        self._seen = None
        self._head, self._headers = None, []
        self._skip, self._received = self._received, 0
        self._parser = SecondParser(self, HEADER_LIMIT)
        self._parser.feed_data(answer)

    def connection_lost(self, error: Exception | None) -> None:
        """End the answer. A body without a length is complete now; anything else is an error."""
        if error is None and self._head is not None and self._framing.until_close:
            self._complete = True
        if error is None:
            self._fail(
                httpx.RemoteProtocolError("the server closed the connection before its answer was complete")
            )
        else:
            self._fail(httpx.ReadError(str(error)))

    # The parsers call the methods below; an exception in them ends the connection.

    def on_message_begin(self) -> None:
        """Refuse an answer without a request."""
        if self._complete:
            raise ValueError("an answer without a request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but no trailer."""
        if self._head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the head, unless it is an interim one (``100 Continue``)."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._framing = framing(self._headers)
            if not self._framing.readable:
                raise ValueError("the answer has a transfer coding other than chunked")
            self._head = (status, self._headers)
        self._headers = self._headers if self._head else []

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body. An interim answer has none, whatever its length says."""
        if self._head is None:
            raise ValueError("an interim answer with a body")
        self._unframed = 0
        self._received += len(part)
        if self._skip:
            part, self._skip = part[self._skip :], max(0, self._skip - len(part))
        self._body.append(part)
        self._buffered += len(part)

    def on_message_complete(self) -> None:
        """Record the end of the answer, unless it was an interim one."""
        if self._head is not None:
            self._complete = True
            self._seen = None
            self._keep = self._parser.should_keep_alive() and self._framing.reusable
