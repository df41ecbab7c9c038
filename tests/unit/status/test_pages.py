"""Tests of the HTTP pages: bounded requests, and which part is not ready."""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import pytest

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.hooks import LedgerCommit
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.memory import MemoryLedger
from handler.status import server
from handler.status.readiness import Readiness
from handler.status.server import Answer
from handler.telemetry.counters import LedgerCounters
from handler.worker.worker import Worker
from tests.patience import patient
from tests.twins.clock import Clock


def _page() -> Answer:
    return Answer(HTTPStatus.OK, b"here\n")


def _broken() -> Answer:
    raise RuntimeError("on purpose")


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def _exchange(request: bytes) -> bytes:
    async def run() -> bytes:
        pages = {"/here": _page, "/broken": _broken}
        async with server.listening("127.0.0.1:0", pages) as port:
            return await _ask(port, request)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /here HTTP/1.1", 200),
        (b"GET /here?verbose=1 HTTP/1.0", 200),
        (b"HEAD /here HTTP/1.1", 200),
        (b"POST /here HTTP/1.1", 405),
        (b"GET /elsewhere HTTP/1.1", 404),
        (b"GET /\xff\xfe HTTP/1.1", 404),
        (b"", 404),
        (b"GET /broken HTTP/1.1", 500),
        (b"GET /" + b"x" * 20_000, 431),
    ],
)
def test_each_request_has_its_status(request_line: bytes, status: int) -> None:
    """A good request is answered; a bad one is refused with its HTTP status."""
    answer = _exchange(request_line + b"\r\nHost: x\r\n\r\n")
    assert f"HTTP/1.1 {status} ".encode() == answer[:13]


def test_a_head_request_has_no_body() -> None:
    """A HEAD request is answered with the length of the body only."""
    head, _, body = _exchange(b"HEAD /here HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert (True, b"") == (b"Content-Length: 5" in head, body)


def test_a_silent_client_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a whole request is closed without an answer."""
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.05)
    assert b"" == _exchange(b"GET /here HTTP/1.1\r\n")


LARGE = b"x" * 16 * 1024 * 1024
SOON = 1.0
SLOW = [b"", b"GET /here HT", b"GET /large HTTP/1.1\r\n\r\n"]


def _large() -> Answer:
    return Answer(HTTPStatus.OK, LARGE)


@pytest.mark.parametrize("sent", SLOW, ids=["silent", "half a request", "an answer that is not read"])
def test_slow_clients_keep_no_other_client_from_its_answer(sent: bytes) -> None:
    """With 200 slow clients, each new request is answered at once."""

    async def run() -> list[float]:
        took = []
        pages = {"/here": _page, "/large": lambda: Answer(HTTPStatus.OK, b"x" * 200_000)}
        async with server.listening("127.0.0.1:0", pages) as port:
            slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
            for _, writer in slow:
                cast("asyncio.Transport", writer.transport).pause_reading()
                writer.write(sent)
            for _ in range(3):
                began = time.monotonic()
                assert b"here" in await _ask(port, b"GET /here HTTP/1.1\r\n\r\n")
                took.append(time.monotonic() - began)
            for _, writer in slow:
                writer.transport.abort()
        return took

    assert max(asyncio.run(run())) < patient(SOON)


def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If too many connections are open, the oldest ones are closed."""
    monkeypatch.setattr(server, "_CONNECTIONS", 5)

    async def run() -> tuple[bytes, bytes]:
        async with server.listening("127.0.0.1:0", {"/here": _page}) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
            firsts = [await _read_all(reader) for reader, _ in opened[:5]]
            for _, writer in opened[5:]:
                writer.write(b"GET /here HTTP/1.1\r\n\r\n")
            lasts = [await _read_all(reader) for reader, _ in opened[5:]]
            for _, writer in opened:
                writer.transport.abort()
        return b"".join(firsts), min(lasts, key=len)

    firsts, shortest = asyncio.run(run())
    assert (b"", True) == (firsts, shortest.endswith(b"here\n"))


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, also by a reset."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(patient(10)):
            return await reader.read()
    return b""


def test_a_client_that_does_not_read_its_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is cut after the total time, so that it takes no memory for longer."""
    monkeypatch.setattr(server, "_SECONDS", 0.1)

    async def run() -> int:
        async with server.listening("127.0.0.1:0", {"/large": _large}) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\n\r\n")
            others = asyncio.all_tasks() - {asyncio.current_task()}
            while not others:
                await asyncio.sleep(0)
                others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=10)
            received = len(await _read_all(reader))
            writer.transport.abort()
            return received

    assert asyncio.run(run()) < len(LARGE)


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "256.1.1.1:0", "192.0.2.1:0"])
def test_a_bad_address_is_an_error(address: str) -> None:
    """The error names HTTP_ADDRESS."""

    async def run() -> None:
        async with server.listening(address, {}):
            pass

    with pytest.raises(SettingsError, match=r"^HTTP_ADDRESS: "):
        asyncio.run(run())


@dataclass
class _Session:
    consuming: bool = True
    in_hand: int = 0


@dataclass
class _Worker:
    session: _Session | None = field(default_factory=_Session)
    missing: tuple[str, ...] = ()


class ReadyWorker:
    """A ready worker, until a test breaks one of its parts."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.breaker = CircuitBreaker(8, self.clock, doubt_pause=5.0)
        self.worker = _Worker()
        self.counters = LedgerCounters()
        self.counters.reachable = True
        self.ledger = MemoryLedger(self.clock, notify=self.counters.count)
        self.missing_routes: dict[str, str] = {}

    def readiness(self) -> Readiness:
        """Return the ``Readiness`` of this worker."""
        return Readiness(
            cast("Worker", self.worker), self.breaker, self.ledger, self.counters, self.missing_routes
        )

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the document of /readyz."""
        answer = self.readiness().page()
        return answer.status.value, json.loads(answer.body)


@pytest.fixture
def ready_worker() -> ReadyWorker:
    """Return a ready worker."""
    return ReadyWorker()


READY = {"ready": True, "broker": "ok", "ledger": "ok", "sign_in": "ok", "circuit_breaker": "closed"}


def test_a_worker_that_consumes_is_ready(ready_worker: ReadyWorker) -> None:
    """A consuming worker answers 200, with each of its parts ready."""
    assert (200, READY) == ready_worker.ask()


def test_a_worker_without_a_connection_is_not_ready(ready_worker: ReadyWorker) -> None:
    """A worker without a connection answers 503 and says that it is not connected."""
    ready_worker.worker.session = None
    assert (503, READY | {"ready": False, "broker": "not connected"}) == ready_worker.ask()


def test_a_worker_without_a_consumer_is_not_ready(ready_worker: ReadyWorker) -> None:
    """A worker whose consumer the broker has cancelled answers 503."""
    ready_worker.worker.session = _Session(consuming=False)
    assert (503, READY | {"ready": False, "broker": "not consuming"}) == ready_worker.ask()


def test_a_worker_whose_outcomes_reach_no_queue_is_not_ready(ready_worker: ReadyWorker) -> None:
    """The page names the types of outcome that no queue receives, and those that a queue refuses."""
    ready_worker.missing_routes |= {"backup.failed": "unroutable", "backup.accepted": "refused"}
    status, page = ready_worker.ask()
    assert 503 == status
    assert "unroutable: backup.failed; refused: backup.accepted;" in page["outcomes"]


def test_a_worker_whose_queue_is_missing_is_not_ready() -> None:
    """While the input queue or its exchange does not exist, the page names it."""
    worker = ReadyWorker()
    worker.worker.missing = ("the queue snapshot-backup",)
    status, document = worker.ask()
    assert (503, "does not exist: the queue snapshot-backup") == (status, document["broker"])


def test_a_worker_whose_circuit_breaker_is_open_is_ready(ready_worker: ReadyWorker) -> None:
    """An open circuit breaker stops consuming on purpose, and a restart would not help."""
    ready_worker.worker.session = _Session(consuming=False)
    ready_worker.breaker.record_failure(ScopedFailure("service", "503", why="unavailable"))
    assert (200, READY | {"circuit_breaker": "open (unavailable)"}) == ready_worker.ask()


def test_a_worker_with_a_refused_sign_in_is_not_ready(ready_worker: ReadyWorker) -> None:
    """A release with a wrong password must not replace one that works."""
    ready_worker.breaker.record_failure(ScopedFailure("service", "401", why="denied"))
    assert (
        503,
        READY | {"ready": False, "sign_in": "refused", "circuit_breaker": "open (denied)"},
    ) == ready_worker.ask()


def test_a_worker_with_an_unavailable_ledger_is_not_ready(ready_worker: ReadyWorker) -> None:
    """The page reports the result of the ledger's latest use, without a new call."""
    ready_worker.counters.count(LedgerCommit(1, failed=True))
    assert (503, READY | {"ready": False, "ledger": "out of reach"}) == ready_worker.ask()


def test_the_page_says_why_the_ledger_is_unavailable(ready_worker: ReadyWorker) -> None:
    """Reason and remedy stand there, until the ledger works again."""
    ready_worker.counters.count(LedgerCommit(1, failed=True, problem="the disk is full: free space"))
    assert "out of reach: the disk is full: free space" == ready_worker.ask()[1]["ledger"]
    ready_worker.counters.count(LedgerCommit(1))
    assert (200, READY) == ready_worker.ask()


def test_an_idle_ledger_is_asked(ready_worker: ReadyWorker) -> None:
    """Without messages the worker notices that the ledger does not answer, before one waits for it."""

    async def run() -> None:
        asking = asyncio.create_task(ready_worker.readiness().keep_checking())
        await asyncio.sleep(0)
        assert not asking.done(), "the loop goes on"
        asking.cancel()

    pings: list[bool] = []
    ready_worker.ledger.ping = lambda: _noted(pings)  # type: ignore[method-assign]
    asyncio.run(run())
    assert [True] == pings


async def _noted(pings: list[bool]) -> None:
    pings.append(True)
    raise LedgerUnavailable("out of reach")


def test_an_unused_ledger_is_checked(ready_worker: ReadyWorker) -> None:
    """The worker checks a ledger that no message has used yet."""
    ready_worker.counters.reachable = None

    async def run() -> None:
        asking = asyncio.create_task(ready_worker.readiness().keep_checking())
        await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(run())
    assert True is ready_worker.counters.reachable
