"""The monitoring pages of a worker with a real broker, and the absence of secrets in all output."""

import asyncio
import contextlib
import io
import json
import logging
import socket
import time
import traceback
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pika
import pytest

from events.message import Message
from events.outcome import CONTENT_TYPE
from handler import bootstrap
from handler.backup.received import Receiver
from handler.broker.outbox import BrokerOutbox
from handler.errors import ConnectionLost
from handler.settings import Settings
from handler.status.monitoring import monitored
from handler.telemetry.logs import JsonFormatter, TextFormatter
from handler.worker.wiring import make_worker
from infra.emulator.testing import running_emulator
from infra.local.ready import wait_until
from infra.local.server import free_ports
from tests.patience import patient
from tests.twins.broker import MemoryBroker
from tests.twins.clock import Clock
from tests.twins.events import cloud_event

MARK = "s3cr3t-m4rk"
SOON = 1.0
_ASKED = {"password": "token", "token": "token", "aksk": "aksk", "ledger": "none"}
"""The sign-in that the emulator requires, for each way that the worker signs in."""


def _get(port: int, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@asynccontextmanager
async def _worker(settings: Settings) -> AsyncIterator[int]:
    """Run a worker, and yield the port of its monitoring pages."""
    async with bootstrap.parts(settings) as parts:
        worker, stop = make_worker(parts), asyncio.Event()
        async with monitored(parts, worker) as port:
            assert port is not None
            running = asyncio.create_task(worker.run(stop))
            yield port
            stop.set()
            await running


async def _until(port: int, path: str, wanted: str) -> str:
    """Get the page until it contains the wanted text, and return it."""
    answer = ""

    def ask() -> bool:
        nonlocal answer
        answer = _get(port, path)[1]
        return wanted in answer

    assert await asyncio.to_thread(wait_until, ask, seconds=30.0), f"no {wanted} in {answer}"
    return answer


@pytest.fixture
def settings(amqp_url: str, unique: str, tmp_path: Path) -> Settings:
    """Return a worker's settings, with an API endpoint that refuses connections."""
    values: dict[str, Any] = {
        "amqp_url": amqp_url,
        "snapshot_exchange": f"{unique}.in",
        "snapshot_queue": unique,
        "result_exchange": f"{unique}.out",
        "result_unroutable": "ignore",
        "track_backups": False,
        "vbs_endpoint": f"http://127.0.0.1:{free_ports(1)[0]}",
        "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
        "http_address": "127.0.0.1:0",
        "wait_ladder": "1,4",
    }
    return Settings(_env_file=None, **values)


async def _publish(settings: Settings, number: int) -> None:
    async with await bootstrap.open_connection(settings) as connection:
        outbox = BrokerOutbox(connection, bootstrap.topology(settings), ignore_unroutable=False)
        body = json.dumps(cloud_event(number)).encode()
        properties = pika.BasicProperties(content_type=CONTENT_TYPE)
        await outbox.send(settings.snapshot_exchange, "snapshot.completed", body, properties)


@pytest.mark.broker
def test_a_worker_is_alive_and_ready_and_counts_events(settings: Settings) -> None:
    """The worker is alive at once and ready when it consumes, and its metrics count each event."""

    async def run() -> tuple[int, str, str]:
        with running_emulator() as emulator:
            known = settings.model_copy(update={"vbs_endpoint": emulator.url})
            async with _worker(known) as port:
                alive, _ = await asyncio.to_thread(_get, port, "/healthz")
                ready = await _until(port, "/readyz", '"ready": true')
                await _publish(known, 1)
                wanted = 'outcomes_total{category="",type="backup.accepted"} 1.0'
                return alive, ready, await _until(port, "/metrics", wanted)

    alive, ready, metrics = asyncio.run(run())
    assert (200, "closed") == (alive, json.loads(ready)["circuit_breaker"])
    for line in (
        'snapshot_backup_events_total{form="cloudevents"} 1.0',
        'snapshot_backup_api_calls_total{route="create",status="202"} 1.0',
        "snapshot_backup_consuming 1.0",
        "snapshot_backup_broker_connections_total 1.0",
        "snapshot_backup_confirms_outstanding 0.0",
    ):
        assert f"\n{line}\n" in metrics


@pytest.mark.broker
def test_the_metrics_show_that_the_api_is_down(settings: Settings) -> None:
    """While the API is down, the worker stays ready, and its metrics show why the circuit breaker is open."""

    async def run() -> tuple[int, str]:
        async with _worker(settings) as port:
            await _until(port, "/readyz", '"ready": true')
            await _publish(settings, 2)
            await _until(port, "/metrics", 'circuit_breaker_reason{why="unavailable"} 1.0')
            return await asyncio.to_thread(_get, port, "/readyz")

    status, body = asyncio.run(run())
    assert (200, True) == (status, json.loads(body)["circuit_breaker"].endswith("(unavailable)"))


def test_without_a_broker_a_worker_is_alive_but_not_ready(settings: Settings) -> None:
    """Without a broker, /healthz answers 200, and /readyz answers 503 and names the broker."""
    lost = Settings(
        _env_file=None,
        **(settings.model_dump() | {"amqp_url": f"amqp://a:b@127.0.0.1:{free_ports(1)[0]}/"}),
    )

    async def run() -> tuple[int, tuple[int, str]]:
        async with _worker(lost) as port:
            alive, _ = await asyncio.to_thread(_get, port, "/healthz")
            return alive, await asyncio.to_thread(_get, port, "/readyz")

    alive, (status, body) = asyncio.run(run())
    assert (200, 503, "not connected") == (alive, status, json.loads(body)["broker"])


@pytest.mark.broker
def test_200_slow_clients_keep_a_worker_from_no_probe(settings: Settings) -> None:
    """With 200 clients that send one byte or nothing, /healthz and /metrics answer at once."""

    async def run() -> list[float]:
        async with _worker(settings) as port:
            return await asyncio.to_thread(_probe_beside_slow_clients, port)

    assert max(asyncio.run(run())) < patient(SOON)


def _probe_beside_slow_clients(port: int) -> list[float]:
    """Return the seconds that each of several probes took; slow clients that are cut come again."""
    took = []
    with contextlib.ExitStack() as stack:
        for round_ in range(3):
            for number in range(200):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                client.sendall(b"G" * (number % 2))
            for path in ("/healthz", "/metrics"):
                began = time.monotonic()
                assert 200 == _get(port, path)[0], (round_, path)
                took.append(time.monotonic() - began)
    return took


def _marked(endpoint: str, tmp_path: Path, **others: str) -> Settings:
    """Return settings with marked secrets, all of them wrong."""
    port = free_ports(1)[0]
    values: dict[str, Any] = {
        "amqp_url": f"amqp://user:{MARK}@127.0.0.1:{port}/",
        "vbs_endpoint": endpoint,
        "os_auth_url": f"{endpoint}/v3",
        "os_username": "user",
        "os_password": MARK,
        "os_project_id": "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5",
        "os_token": MARK,
        "huaweicloud_sdk_ak": "ak",
        "huaweicloud_sdk_sk": MARK,
        "huaweicloud_sdk_security_token": MARK,
        "ledger_url": f"sqlite:///{tmp_path}/ledger.db",
    }
    return Settings(_env_file=None, **(values | others)).model_copy(update={"max_age": 0.000001})


class _Lines(logging.Handler):
    """A log handler that formats each line as JSON and as text, and keeps both."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = io.StringIO()

    def emit(self, record: logging.LogRecord) -> None:
        for formatter in (JsonFormatter(), TextFormatter()):
            self.text.write(formatter.format(record) + "\n")


async def _fail(settings: Settings) -> str:
    """Handle an event with wrong settings; return all output that an operator can see."""
    broker = MemoryBroker(Clock(), settings.wait_ladder)
    seen = [repr(settings), str(settings), settings.model_dump_json()]
    async with bootstrap.parts(settings) as parts:
        body = json.dumps(cloud_event(3)).encode()
        received = Receiver(None, time.time).receive(Message(body))
        await parts.control.begin()
        handled = await parts.process(broker, None).handle(received)
        seen += [repr(parts), repr(handled), repr(vars(parts.breaker))]
        async with monitored(parts, make_worker(parts)) as port:
            if port:
                seen += [(await asyncio.to_thread(_get, port, path))[1] for path in ("/metrics", "/readyz")]
    seen += [repr(broker.outcomes), repr(broker.dead), repr(broker.waiting)]
    try:
        await bootstrap.open_connection(settings)
    except ConnectionLost:
        seen.append(traceback.format_exc())
    return "\n".join(seen)


@pytest.mark.parametrize("way", ["password", "token", "aksk", "ledger"])
def test_no_secret_is_in_any_output(way: str, tmp_path: Path) -> None:
    """No log line, event, header or repr has a secret, for each refused sign-in and an unavailable ledger."""
    lines = _Lines()
    root = logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    others = {"vbs_auth": way, "http_address": "127.0.0.1:0"}
    if way == "ledger":
        url = f"postgresql://user:{MARK}@127.0.0.1:{free_ports(1)[0]}/ledger"
        others = {"vbs_auth": "none", "ledger_url": url}
    try:
        with running_emulator(auth=_ASKED[way]) as emulator:
            seen = asyncio.run(_fail(_marked(emulator.url, tmp_path, **others)))
    finally:
        root.removeHandler(lines)
        root.setLevel(level)
    written = lines.text.getvalue()
    assert (False, False) == (MARK in seen, MARK in written)
    assert "breaker.open" in written or "message.failed" in written
