"""Both transports give the same result for the same answer, and the next request gets its own answer.

``pool`` is our transport, ``httpx`` the one without the extra ``fast``, ``proxy`` the one behind a proxy.
"""

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from events.outcome import Category
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.client import VbsClient
from handler.vbs.transport import http
from handler.vbs.transport.http import http_client
from handler.worker import event_loop
from infra.emulator.faults import raw_answer
from tests.conformance.answers import ANSWERS, Answer
from tests.proxy import reset_on_close
from tests.tls import make_certificate
from tests.unit.vbs.serving import serving
from tests.unit.vbs.world import BACKUP, PROJECT, REQUEST

T = TypeVar("T")
TIMEOUT = 5.0
TLS = ssl.create_default_context()  # it takes longer to make than a call
OURS = json.dumps({"backup": {"id": BACKUP}}).encode()
NEXT_BACKUP = "22222222-93d4-4e55-a2b8-0d7e4f9c1a26"
NEXT = raw_answer(
    "HTTP/1.1 202 Accepted\r\nContent-Length: {length}\r\n\r\n{body}",
    json.dumps({"backup": {"id": NEXT_BACKUP}}).encode(),
)


@pytest.fixture(params=["pool", "httpx", "proxy"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select the transport."""
    if request.param == "pool":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(http, "_fast", request.param != "httpx")
    monkeypatch.setattr(http, "_context", lambda _settings, _files: TLS)
    return str(request.param)


class Seen(NamedTuple):
    """The results of the calls, each a backup's id or the category of an error, and the connections."""

    results: Sequence[str]
    connections: int


def calls(transport: str, first: bytes, *, closed: bool = False, count: int = 2) -> Seen:
    """Make create calls one after the other; the first is answered with these bytes, the others as usual."""
    connections = answered = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, answered
        connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}}")
            answered += 1
            writer.write(first if answered == 1 else NEXT)
            await writer.drain()
            if answered == 1 and closed:
                return

    async def run() -> Sequence[str]:
        async with serving(behave) as url:
            return await _calls(transport, url, count)

    results = event_loop.run(run())
    return Seen(results, connections)


async def _calls(transport: str, url: str, count: int) -> Sequence[str]:
    with pytest.MonkeyPatch.context() as patch:
        if transport == "proxy":
            patch.setenv("HTTP_PROXY", url)
            url = "http://vbs.invalid"
        api = VbsClient(http_client(Settings(_env_file=None, concurrency=1)), url, timeout=TIMEOUT)
        try:
            return [await _result(api) for _ in range(count)]
        finally:
            await api.aclose()


async def _result(api: VbsClient) -> str:
    try:
        return (await api.create(PROJECT, REQUEST)).id
    except ApiError as error:
        return error.category.value


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _answer_early(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Refuse the request before it is read, as a server does with one that is too large."""
    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def _answer_and_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"}}")
    writer.write(NEXT)
    await writer.drain()
    reset_on_close(writer)


async def _time_out_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer, and then report that the idle connection has timed out, as HAProxy does."""
    await reader.readuntil(b"}}")
    writer.write(NEXT)
    await writer.drain()
    await asyncio.sleep(0)  # the report comes after the answer
    writer.write(b"HTTP/1.0 408 Request Time-out\r\nConnection: close\r\n\r\n<html>no</html>")
    await writer.drain()


@pytest.mark.parametrize("serve", [_answer_early, _answer_and_reset, _time_out_idle])
def test_a_connection_that_ends_oddly_does_not_affect_the_next_call(serve: Serve, transport: str) -> None:
    """Whatever an odd end does to its own call, the next call gets its own answer."""
    served = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served == 1:
            await serve(reader, writer)
            return
        await reader.readuntil(b"}}")
        writer.write(NEXT)
        await writer.drain()

    async def run() -> Sequence[str]:
        async with serving(behave) as url:
            return await _calls(transport, url, 2)

    first, second = event_loop.run(run())
    assert first in (NEXT_BACKUP, Category.IN_DOUBT.value, Category.UNAVAILABLE.value)
    assert NEXT_BACKUP == second


@pytest.mark.parametrize("fast", [True, False], ids=["pool", "httpx"])
def test_a_surplus_answer_over_tls_is_not_taken_for_the_next_one(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers that come at once, each in its own TLS record: the second one is never read."""
    if fast:
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.certificate, certificate.key)
    trusting = ssl.create_default_context(cafile=certificate.certificate)
    monkeypatch.setattr(http, "_fast", fast)
    monkeypatch.setattr(http, "_context", lambda _settings, _files: trusting)
    answered = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        while True:
            await reader.readuntil(b"}}")
            answered += 1
            writer.write(NEXT)
            if answered == 1:
                writer.write(raw_answer(ANSWERS[0].template, OURS))
            await writer.drain()

    async def run() -> Sequence[str]:
        async with serving(behave, server) as url:
            return await _calls("direct", url, 2)

    assert [NEXT_BACKUP] * 2 == event_loop.run(run())


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_both_transports_agree_on_an_answer(answer: Answer, transport: str) -> None:
    """An answer is read, or its call is in doubt; the next call gets its own answer."""
    seen = calls(transport, raw_answer(answer.template, OURS), closed=answer.closed)
    expected = BACKUP if answer.read else Category.IN_DOUBT.value
    assert [expected, NEXT_BACKUP] == seen.results
    assert seen.connections == 2 or answer.reusable


def test_every_answer_has_a_name_and_a_rule() -> None:
    """No two answers have the same name, and there are at least a hundred."""
    assert 100 <= len(ANSWERS) == len({answer.name for answer in ANSWERS})
    assert all(answer.rule for answer in ANSWERS)
