"""httpx's own transport, with connections that are used again only after an answer that ended cleanly.

httpx keeps what came after an answer and takes it for the next one: a create call would get the id of another
backup. It also uses a connection again after an answer with two lengths, and after a short ``Keep-Alive``.
"""

import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

from handler.vbs.transport.framing import framing


class GuardedTransport(httpx.AsyncBaseTransport):
    """Carries requests over ``own``, and closes the connection after an answer that did not end cleanly."""

    def __init__(self, own: httpx.AsyncHTTPTransport) -> None:
        self._own = own

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer; the caller must close the answer's stream."""
        response = await self._own.handle_async_request(request)
        response.request = request
        response.stream = _Answer(response)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._own.aclose()


class _Answer(httpx.AsyncByteStream):
    """The stream of an answer's body; closing it also closes the connection, unless it can be used again."""

    def __init__(self, response: httpx.Response) -> None:
        self._stream = cast("httpx.AsyncByteStream", response.stream)
        self._connection = response.extensions["network_stream"]
        self._reusable = framing(response.headers.raw).reusable
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._reusable or self._has_surplus():
                await self._connection.aclose()
        finally:
            await self._stream.aclose()

    def _has_surplus(self) -> bool:
        """Return whether more than the answer has come: in the parser, or in the TLS layer."""
        tls: ssl.SSLObject | None = self._connection.get_extra_info("ssl_object")
        return _parsed_surplus(self._stream) or (tls is not None and _readable(tls))


def _parsed_surplus(stream: Any) -> bool:
    """Return whether h11 holds bytes after the answer.

    httpx has no public way to ask. If a release of it has other names, no connection is used again.
    """
    try:
        surplus, _ = stream._httpcore_stream._stream._connection._h11_state.trailing_data  # noqa: SLF001
    except AttributeError:
        return True
    return bool(surplus)


def _readable(tls: ssl.SSLObject) -> bool:
    """Return whether the TLS layer holds bytes that were not read, or has ended; it reads from memory."""
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True
