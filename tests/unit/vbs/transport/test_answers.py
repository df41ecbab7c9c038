"""Tests of the answers that a connection reads: their bodies, trailers and limits."""

import asyncio

import httpx
import pytest

pytest.importorskip("httptools", reason="the extra `fast` is not installed")

from handler.vbs.transport.connection import HEADER_LIMIT
from handler.vbs.transport.pool import Pool
from tests.patience import patient
from tests.unit.vbs.transport.server import Server, ask, ask_three, sends, with_pool

pytestmark = pytest.mark.usefixtures("each_loop")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
    ],
    ids=["an interim answer first", "in chunks"],
)
def test_interim_and_chunked_answers_are_read(answer: bytes) -> None:
    """The pool reuses a connection after an interim or chunked answer."""
    server = sends(answer)
    assert [b"{}"] * 3 == with_pool(server, ask_three)
    assert 1 == server.connections


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """HTTP/1.0 servers and some proxies send such bodies."""

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    assert [b"{}"] * 3 == with_pool(Server(answer), ask_three)


def test_a_body_longer_than_the_buffer_is_read_completely() -> None:
    """Reading from the socket pauses while the buffer is full, and resumes afterwards."""
    size = 3 * 1024 * 1024
    server = sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    async def use(pool: Pool, url: str) -> int:
        return len(await ask(pool, url))

    assert size == with_pool(server, use)


def test_a_head_over_the_limit_is_an_error() -> None:
    """The parser itself would keep any number of headers."""

    async def use(pool: Pool, url: str) -> None:
        with pytest.raises(httpx.RemoteProtocolError, match="head of the answer is longer than"):
            await ask(pool, url)

    with_pool(sends(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2 * HEADER_LIMIT), use)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


@pytest.mark.parametrize(
    ("first", "again"),
    [(b"0\r\n", b"X-Trailer: xxxxxxxx\r\n"), (b"0\r\nX-Long: ", b"x"), (b"1;", b"extension=x;")],
    ids=["trailers", "one trailer", "chunk extensions"],
)
def test_endless_data_after_a_body_is_an_error(first: bytes, again: bytes) -> None:
    """Endless trailers or chunk extensions are an error; without a limit, trailers took 366 MB in 4 s."""

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + first)
        while not writer.is_closing():
            writer.write(again * 1_000)
            await writer.drain()

    async def use(pool: Pool, url: str) -> None:
        async with asyncio.timeout(patient(10)):
            with pytest.raises(httpx.RemoteProtocolError, match="is longer than"):
                await ask(pool, url)

    with_pool(Server(answer), use)


def test_a_trailer_is_no_header() -> None:
    """A trailer after the body does not become a header such as the token."""

    async def use(pool: Pool, url: str) -> bool:
        response = await pool.handle_async_request(httpx.Request("GET", url))
        await response.aread()
        return "X-Subject-Token" in response.headers

    assert not with_pool(sends(CHUNKED + b"0\r\nX-Subject-Token: t\r\n\r\n"), use)


def test_a_body_in_small_chunks_is_read_completely() -> None:
    """The limit of the head does not count chunk sizes, even if they take more bytes than the body."""
    size = 2 * HEADER_LIMIT
    body = b"1\r\nx\r\n" * size + b"0\r\n\r\n"
    server = sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

    async def use(pool: Pool, url: str) -> int:
        return len(await ask(pool, url))

    assert size == with_pool(server, use)
