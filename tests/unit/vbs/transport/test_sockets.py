"""Tests over real sockets: closed, silent, refused and endless connections, with both transports."""

import asyncio
import socket
import time
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from events.outcome import Category
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.auth.identity import sign_in
from handler.vbs.client import VbsClient
from handler.vbs.transport.http import http_client
from handler.worker import event_loop
from tests.patience import patient
from tests.unit.vbs.auth.cloud import password_account
from tests.unit.vbs.serving import Behaviour, serving
from tests.unit.vbs.world import PROJECT, REQUEST

pytestmark = pytest.mark.usefixtures("each_loop")

C = Category
HEAD = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"


async def _cut_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Close without reading."""


async def _cut_after_request(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")


async def _cut_in_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    writer.write(HEAD + b'Content-Length: 500\r\n\r\n{"backup": {"id":')
    await writer.drain()


async def _silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def _dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _compressed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    body = zlib.compress(b'{"backup": {"id": "54ba0e69-48a0-4a77-9cdf-a7979a7e2648"}}')
    writer.write(HEAD + b"CONTENT-encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def _no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()


@pytest.fixture(params=["pool", "httpx"])
def transport(request: pytest.FixtureRequest) -> Callable[[], httpx.AsyncClient]:
    """Select one of both transports, which raise different errors for the same failure."""
    if request.param == "pool":
        return lambda: http_client(Settings(_env_file=None))
    return lambda: httpx.AsyncClient(trust_env=False)


async def _failure(client: httpx.AsyncClient, url: str, timeout: float = 5.0) -> ApiError:
    api = VbsClient(client, url, timeout=timeout)
    try:
        with pytest.raises(ApiError) as caught:
            await api.create(PROJECT, REQUEST)
    finally:
        await api.aclose()
    return caught.value


def _against(behave: Behaviour, transport: Callable[[], httpx.AsyncClient], timeout: float = 5.0) -> ApiError:
    async def run() -> ApiError:
        async with serving(behave) as url:
            return await _failure(transport(), url, timeout)

    return event_loop.run(run())


@pytest.mark.parametrize("behave", [_cut_at_once, _cut_after_request, _cut_in_body, _endless, _no_http])
def test_a_lost_answer_is_in_doubt(behave: Behaviour, transport: Callable[[], httpx.AsyncClient]) -> None:
    """The request may have arrived; the client stops reading an endless body at its limit."""
    assert C.IN_DOUBT == _against(behave, transport).category


def test_a_compressed_answer_is_in_doubt(transport: Callable[[], httpx.AsyncClient]) -> None:
    """Even a short compressed body is not parsed."""
    error = _against(_compressed, transport)
    assert (error.category, error.status) == (C.IN_DOUBT, 202)
    assert "compressed (deflate)" in error.message


@pytest.mark.parametrize("behave", [_silent, _dripping])
def test_a_silent_server_is_in_doubt_soon_after_the_timeout(
    behave: Behaviour, transport: Callable[[], httpx.AsyncClient]
) -> None:
    """The limit also holds if single bytes keep each read alive."""
    began = time.monotonic()
    assert C.IN_DOUBT == _against(behave, transport, timeout=0.2).category
    assert time.monotonic() - began < patient(5 * 0.2)


def test_a_refused_connection_is_not_in_doubt(transport: Callable[[], httpx.AsyncClient]) -> None:
    """No server listens on this port, so no backup was created."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert C.UNAVAILABLE == event_loop.run(_failure(transport(), f"http://127.0.0.1:{port}")).category


def test_an_unresolvable_name_is_not_in_doubt(transport: Callable[[], httpx.AsyncClient]) -> None:
    """A host name under ``.invalid`` never resolves, so no request was sent."""
    assert C.UNAVAILABLE == event_loop.run(_failure(transport(), "http://vbs.invalid")).category


def test_a_failed_tls_handshake_is_not_in_doubt(transport: Callable[[], httpx.AsyncClient]) -> None:
    """The request is not sent before the handshake succeeds."""

    async def run() -> ApiError:
        async with serving(_cut_at_once) as url:
            return await _failure(transport(), url.replace("http:", "https:"))

    assert C.UNAVAILABLE == event_loop.run(run()).category


def test_a_request_that_waits_for_the_pool_is_not_in_doubt() -> None:
    """A request that times out while it waits for a connection was not sent."""

    async def run() -> list[Category]:
        async with serving(_silent) as url:
            client = http_client(Settings(_env_file=None, concurrency=1))
            # Long enough that a busy machine has sent the first request, of which nothing is known then.
            api = VbsClient(client, url, timeout=1.0)
            calls: list[Coroutine[Any, Any, object]] = [api.create(PROJECT, REQUEST) for _ in range(2)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            await api.aclose()
            return sorted(end.category for end in ends if isinstance(end, ApiError))

    assert [C.IN_DOUBT, C.UNAVAILABLE] == event_loop.run(run())


def test_a_token_of_sixteen_thousand_characters_is_read(transport: Callable[[], httpx.AsyncClient]) -> None:
    """The client reads a token of 16,384 characters, a length that IAM may use."""
    token = "t" * 16_384

    async def grant(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}}")
        head = f"HTTP/1.1 201 Created\r\nX-Subject-Token: {token}\r\nContent-Length: 2\r\n\r\n{{}}"
        writer.write(head.encode())
        await writer.drain()

    async def run() -> str:
        async with serving(grant) as url, transport() as client:
            account = password_account(url, project_id=PROJECT)
            return (await sign_in(client, account, account.home(), 5.0)).token

    assert token == event_loop.run(run())
