"""Reading the body of an answer: at most ``BODY_LIMIT`` bytes, uncompressed, also after a sign-in read it."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from handler.vbs.transport.body import BODY_LIMIT, Unreadable, read_body


class _Once(httpx.AsyncByteStream):
    """A body that comes from a socket: it can be read once."""

    def __init__(self, content: bytes) -> None:
        self._parts = [content]
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._parts:
            yield self._parts.pop()

    async def aclose(self) -> None:
        self.closed = True


async def _answer(
    content: bytes, headers: Mapping[str, str] | None = None, *, read: bool = False
) -> tuple[httpx.Response, _Once]:
    stream = _Once(content)
    response = httpx.Response(401, headers=headers, stream=stream)
    if read:
        await response.aread()
    return response, stream


@pytest.mark.parametrize("read", [False, True])
def test_a_body_is_returned_whether_it_was_read_before_or_not(read: bool) -> None:
    """The sign-in reads the answer to a refused token; the client reads the same answer for its reason."""

    async def body() -> None:
        response, stream = await _answer(b'{"error": 1}', read=read)
        assert b'{"error": 1}' == await read_body(response)
        assert stream.closed

    asyncio.run(body())


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize(
    ("content", "headers", "text"),
    [
        (b"x" * (BODY_LIMIT + 1), {}, "longer than"),
        (b"{}", {"content-encoding": "x-unknown"}, "compressed"),
    ],
    ids=["long", "compressed"],
)
def test_a_bad_body_is_refused_whether_it_was_read_before_or_not(
    content: bytes, headers: Mapping[str, str], text: str, read: bool
) -> None:
    """An earlier reader does not lift the limits; a refused body is closed."""

    async def body() -> None:
        response, stream = await _answer(content, headers, read=read)
        with pytest.raises(Unreadable, match=text):
            await read_body(response)
        assert stream.closed

    asyncio.run(body())


def test_a_body_of_the_largest_size_is_read() -> None:
    """``BODY_LIMIT`` itself is allowed."""

    async def body() -> None:
        response, _ = await _answer(b"x" * BODY_LIMIT)
        assert BODY_LIMIT == len(await read_body(response))

    asyncio.run(body())
