"""An HTTP client whose pool ends in a function, so that the client's lean calls reach a test's server."""

from collections.abc import Callable, Coroutine, Mapping
from typing import cast

import httpx

from handler.vbs.transport.body import Whole

Answer = (
    Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
)


class WiredPool:
    """Answers the bytes of each request with a function; ``messages`` are the requests that have come."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.messages: list[bytes] = []

    async def send(
        self, origin: tuple[str, str, int | None], message: bytes, _timeouts: Mapping[str, float | None]
    ) -> tuple[int, list[tuple[bytes, bytes]], httpx.AsyncByteStream]:
        """Parse, answer."""
        self.messages.append(message)
        answer = self._answer(parsed(origin, message))
        response = answer if isinstance(answer, httpx.Response) else await answer
        return response.status_code, response.headers.raw, await _stream(response)


def parsed(origin: tuple[str, str, int | None], message: bytes) -> httpx.Request:
    """Return a request from its bytes."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, path, version = first.split(b" ")
    assert b"HTTP/1.1" == version
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    scheme, host, port = origin
    url = httpx.URL(scheme=scheme, host=host, port=port, raw_path=path)
    return httpx.Request(method.decode(), url, headers=headers, content=body)


async def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    """Return the body as the pool would: whole if it is not encoded."""
    stream = cast("httpx.AsyncByteStream", response.stream)
    if "content-encoding" in response.headers:
        return stream
    return Whole(b"".join([part async for part in stream]))


class WiredClient(httpx.AsyncClient):
    """A client of a ``WiredPool``; other requests go to the same function."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(transport=httpx.MockTransport(answer))
        self.wired = WiredPool(answer)

    def pool(self, _url: httpx.URL) -> WiredPool:
        """Return the pool."""
        return self.wired


def plain_client(answer: Answer) -> httpx.AsyncClient:
    """Return a client without a pool."""
    return httpx.AsyncClient(transport=httpx.MockTransport(answer))
