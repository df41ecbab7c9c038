"""Tests of the pool: which connections are reused, and which answers close one."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest

pytest.importorskip("httptools", reason="the extra `fast` is not installed")

from handler.vbs.transport.connection import Connection
from handler.vbs.transport.pool import Pool, _Exchange, encoded
from handler.worker import event_loop
from tests.patience import patient
from tests.tls import Certificate, make_certificate, tls_front
from tests.unit.vbs.transport.server import OK, Server, ask, ask_three, sends, with_pool

pytestmark = pytest.mark.usefixtures("each_loop")


def test_a_connection_is_reused() -> None:
    """Three requests use one connection."""
    server = sends(OK)
    assert [b"{}"] * 3 == with_pool(server, ask_three)
    assert 1 == server.connections


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        OK + OK,
    ],
    ids=["asked to close", "HTTP/1.0", "an answer without a request"],
)
def test_a_connection_that_the_server_may_close_is_not_reused(last: bytes) -> None:
    """The server may close the connection; a surplus answer would be read as the next request's answer."""
    server = sends(last)
    assert [b"{}"] * 3 == with_pool(server, ask_three)
    assert 3 == server.connections


def test_a_connection_that_was_idle_for_long_is_not_reused() -> None:
    """The server may be closing an idle connection, which would put the next request in doubt."""
    server = sends(OK)
    with_pool(server, ask_three, keep=-1.0)
    assert 3 == server.connections


def test_a_connection_that_the_server_closed_is_not_reused() -> None:
    """The client sees the close before the next request, so no request is lost."""

    async def answer(_number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def use(pool: Pool, url: str) -> Sequence[bytes]:
        first = await ask(pool, url)
        [[connection]] = pool._idle.values()
        while connection.usable:  # noqa: ASYNC110 - it has no event for its end
            await asyncio.sleep(0.01)
        return [first, await ask(pool, url)]

    assert [b"{}", b"{}"] == with_pool(Server(answer), use)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_unrequested_answer_is_not_taken_for_the_next_one(tls: bool, tmp_path: Path) -> None:
    """The pool does not read an unrequested answer as the next one: a call would get another backup's id."""
    certificate = make_certificate(tmp_path, "IP:127.0.0.1") if tls else None
    server = Impostor(certificate)

    async def run() -> Sequence[bytes]:
        pool = Pool(
            ssl.create_default_context(cafile=certificate.certificate if certificate else None),
            limit=1,
            keep_alive=5.0,
        )
        first = await ask(pool, server.url)
        server.send_unasked.set()
        assert server.sent_unasked.wait(10)  # this blocks the event loop meanwhile
        try:
            return [first, await ask(pool, server.url)]
        finally:
            await pool.aclose()

    with server.running():
        assert [b"ours", b"ours"] == event_loop.run(run())


class Impostor:
    """A server in its own thread that sends an unrequested answer once ``send_unasked`` is set."""

    def __init__(self, certificate: Certificate | None) -> None:
        self.send_unasked = threading.Event()
        self.sent_unasked = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.certificate, certificate.key)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}/v2"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve two connections at most, one after the other."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._socket.close()
            thread.join(10)

    def _serve(self) -> None:
        for impostor in (True, False):
            with contextlib.suppress(OSError):  # the client resets a connection that it abandons
                self._answer(impostor=impostor)

    def _answer(self, *, impostor: bool) -> None:
        connection = self._socket.accept()[0]
        connection.settimeout(10)
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nours")
            if impostor:
                assert self.send_unasked.wait(10)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
                time.sleep(0.05)  # until the client's socket has received it
                self.sent_unasked.set()
            connection.recv(65_536)


def test_each_request_has_its_own_timeout() -> None:
    """A request with a short timeout fails in time after one with a long timeout on the same connection."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 0:
            writer.write(OK)
            await writer.drain()

    server = Server(answer)

    async def use(pool: Pool, url: str) -> None:
        await ask(pool, url, {"read": 60.0})
        with pytest.raises(httpx.ReadTimeout, match=r"within 0\.1 s"):
            async with asyncio.timeout(patient(10)):
                await ask(pool, url, {"read": 0.1})

    with_pool(server, use)
    assert 1 == server.connections


def test_a_short_timeout_does_not_end_the_next_request() -> None:
    """The first request's short timeout does not apply to the second request on the same connection."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await asyncio.sleep(0.3)
        writer.write(OK)
        await writer.drain()

    async def use(pool: Pool, url: str) -> Sequence[bytes]:
        return [await ask(pool, url, {"read": seconds}) for seconds in (0.1, 10.0)]

    assert [b"{}", b"{}"] == with_pool(Server(answer), use)


def test_the_next_address_of_a_host_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may have an address that does not answer, such as an unreachable IPv6 address."""

    async def two(_host: str, port: int) -> Sequence[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]

    monkeypatch.setattr("handler.vbs.transport.pool._addresses", two)
    server = sends(OK)

    async def use(pool: Pool, url: str) -> bytes:
        return await ask(pool, url.replace("127.0.0.1", "two.example"))

    assert b"{}" == with_pool(server, use)


def test_reading_resumes_after_a_large_complete_answer() -> None:
    """An answer larger than the buffer pauses reading; reading resumes once its body is complete."""

    class Socket(asyncio.Transport):
        reading = True

        def pause_reading(self) -> None:
            self.reading = False

        def resume_reading(self) -> None:
            self.reading = True

        def write(self, data: bytes | bytearray | memoryview) -> None: ...

    async def run() -> tuple[bool, int, bool]:
        connection, sock = Connection(), Socket()
        connection.connection_made(sock)
        asking = asyncio.create_task(connection.ask(b"GET / HTTP/1.1\r\n\r\n", None))
        await asyncio.sleep(0)
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"x" * 600_000)
        paused = not sock.reading
        await asking
        return paused, len(connection.whole() or b""), sock.reading

    assert (True, 600_000, True) == event_loop.run(run())


def test_an_abandoned_answer_closes_its_connection() -> None:
    """The pool closes the connection: the rest of the answer would be read as the next answer."""
    server = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nx")

    async def use(pool: Pool, url: str) -> None:
        for _ in range(2):
            response = await pool.handle_async_request(httpx.Request("GET", url))
            await response.aclose()

    with_pool(server, use)
    assert 2 == server.connections


def test_a_cancelled_call_closes_its_connection_and_frees_its_slot() -> None:
    """The answer to a cancelled call may still arrive; the next request must not read it."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) > 1:
            writer.write(OK)
            await writer.drain()

    server = Server(answer)

    async def use(pool: Pool, url: str) -> bytes:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask(pool, url)
        return await ask(pool, url)

    assert b"{}" == with_pool(server, use, limit=1)
    assert 2 == server.connections


def test_a_connection_whose_reading_paused_is_reused() -> None:
    """The last byte of a large body may fill the buffer; the next answer must still be read."""
    size = 256 * 1024 + 1  # with more, reading could pause before the end, which this test waits for
    server = sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size, OK)

    async def use(pool: Pool, url: str) -> Sequence[int]:
        response = await pool.handle_async_request(httpx.Request("GET", url))
        connection = cast("_Exchange", response.stream)._connection
        assert connection is not None
        while not connection._complete:  # noqa: ASYNC110 - it has no event for its end
            await asyncio.sleep(0.01)
        first = len(await response.aread())
        return [first, len(await ask(pool, url, {"read": 2.0}))]

    assert [size, 2] == with_pool(server, use)
    assert 1 == server.connections


def test_requests_work_over_tls(tmp_path: Path) -> None:
    """Large and small answers follow one another on one connection."""
    size = 3 * 1024 * 1024
    server = sends(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size, OK)
    certificate = make_certificate(tmp_path, "IP:127.0.0.1")

    async def use(pool: Pool, url: str) -> Sequence[int]:
        with tls_front(urlsplit(url).port or 0, certificate) as port:
            sizes = [len(await ask(pool, f"https://127.0.0.1:{port}/v2")) for _ in range(2)]
            await pool.aclose()
            return sizes

    assert [size, 2] == with_pool(server, use, trusted=certificate.certificate)
    assert 1 == server.connections


def test_a_server_with_a_wrong_certificate_gets_no_request(tmp_path: Path) -> None:
    """No byte of the request leaves before the handshake succeeds."""
    server = sends(OK)
    certificate = make_certificate(tmp_path, "DNS:vbs.example.com")

    async def use(pool: Pool, url: str) -> None:
        refused = pytest.raises(httpx.ConnectError, match="certificate")
        with tls_front(urlsplit(url).port or 0, certificate) as port, refused:
            await ask(pool, f"https://127.0.0.1:{port}/v2")

    with_pool(server, use, trusted=certificate.certificate)
    assert [] == server.requests


def test_the_limit_of_concurrent_requests_is_kept() -> None:
    """A request over the limit waits, and its error says that it was not sent."""

    async def never(_number: int, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = Server(never)

    async def use(pool: Pool, url: str) -> Sequence[object]:
        calls = [ask(pool, url, {"read": 0.5, "pool": 0.1}) for _ in range(3)]
        return await asyncio.gather(*calls, return_exceptions=True)

    ends = with_pool(server, use, limit=2)
    assert ["PoolTimeout", "ReadTimeout", "ReadTimeout"] == sorted(type(end).__name__ for end in ends)
    assert 2 == len(server.requests)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"], ids=["CRLF", "CR", "LF"])
def test_a_header_with_a_line_break_is_refused(end: str) -> None:
    """A line break in a value would start a second header; some servers accept a lone CR or LF."""
    headers = {"X-Auth-Token": f"t{end}X-Other: 1"}
    request = httpx.Request("GET", "http://127.0.0.1/v2", headers=headers)
    with pytest.raises(httpx.LocalProtocolError):
        encoded(request)
