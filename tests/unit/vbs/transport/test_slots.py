"""Tests of a pool of one connection: however a call ends, the next call gets a connection."""

import asyncio
import contextlib
import gc
import zlib
from collections.abc import Awaitable, Callable

import httpx
import pytest

from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.auth.password import PasswordAuth
from handler.vbs.client import VbsClient
from handler.vbs.transport.http import http_client
from handler.worker import event_loop
from tests.unit.vbs.auth.cloud import password_account
from tests.unit.vbs.serving import serving
from tests.unit.vbs.world import ACCEPTED, BACKUP, PROJECT, REQUEST

pytestmark = pytest.mark.usefixtures("each_loop")

Send = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 401 Unauthorized\r\n"
TIMEOUT = 0.3
PATIENCE = 30.0


async def _compressed(writer: asyncio.StreamWriter) -> None:
    body = zlib.compress(b'{"error": {}}')
    writer.write(HEAD + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'Content-Length: 500\r\n\r\n{"error"')
    await writer.drain()
    writer.close()


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
        await writer.drain()


async def _silent(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 500\r\n\r\n")


async def _slow(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 500\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("refuse", [_compressed, _cut, _endless, _silent, _slow])
def test_an_unreadable_refusal_gives_its_connection_back(refuse: Send) -> None:
    """The sign-in reads a 401 before it renews the token; a read error must not leak the connection."""
    refused = 3

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}}")
            if b"/auth/tokens" in head:
                writer.write(b"HTTP/1.1 201 Created\r\nX-Subject-Token: t\r\nContent-Length: 2\r\n\r\n{}")
            elif refused:
                refused -= 1
                await refuse(writer)
            else:
                response = httpx.Response(202, json=ACCEPTED)
                writer.write(
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(response.content)
                    + response.content
                )

    async def run() -> str:
        async with serving(behave) as url:
            client = http_client(Settings(_env_file=None, concurrency=1))
            account = password_account(url, project_id=PROJECT)

            def api(timeout: float) -> VbsClient:
                auth = PasswordAuth(client, account, timeout=timeout)
                return VbsClient(client, url, auth=auth, timeout=timeout)

            hurried = api(TIMEOUT)
            for _ in range(3):
                with contextlib.suppress(ApiError):
                    await hurried.create(PROJECT, REQUEST)
            patient = api(PATIENCE)  # what it shows does not depend on how fast the machine is
            try:
                return (await patient.create(PROJECT, REQUEST)).id
            finally:
                await patient.aclose()

    assert BACKUP == event_loop.run(run())


def test_an_unclosed_answer_gives_its_connection_back() -> None:
    """A caller that never closes an answer must not leak its connection: garbage collection frees it."""
    pytest.importorskip("httptools", reason="httpx's own transport, which is used without `fast`, does not")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx")
        await reader.read()

    async def run() -> list[int]:
        async with serving(behave) as url, http_client(Settings(_env_file=None, concurrency=1)) as client:
            request = httpx.Request("GET", url, extensions={"timeout": {"pool": 2.0}})
            statuses = []
            for _ in range(3):
                response = await client.send(request, stream=True)
                statuses.append(response.status_code)
                del response
                gc.collect()
            return statuses

    assert [200] * 3 == event_loop.run(run())
