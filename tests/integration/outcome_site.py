"""A worker with its pages, in a thread of the test, and another program's channel at the same broker."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from handler import bootstrap
from handler.settings import Settings
from handler.status.monitoring import monitored
from handler.worker.wiring import make_worker
from infra.local.ready import wait_until
from tests.declaring import declared
from tests.patience import patient
from tests.twins.events import cloud_event

SECONDS = 60.0


@dataclass
class Site:
    """The worker's settings, the log of the test, and a channel in confirm mode."""

    settings: Settings
    channel: BlockingChannel
    caplog: pytest.LogCaptureFixture
    port: int = 0

    @property
    def queue(self) -> str:
        """The worker's queue."""
        return self.settings.snapshot_queue

    @property
    def exchange(self) -> str:
        """The exchange of the outcomes."""
        return self.settings.result_exchange

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run a worker until the end of the block."""
        started, stop = threading.Event(), asyncio.Event()
        loop = asyncio.new_event_loop()

        async def work() -> None:
            async with bootstrap.parts(self.settings) as parts:
                worker = make_worker(parts)
                async with monitored(parts, worker) as port:
                    self.port = port or 0
                    started.set()
                    await worker.run(stop)

        thread = threading.Thread(target=lambda: loop.run_until_complete(work()))
        thread.start()
        try:
            assert started.wait(SECONDS)
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(SECONDS)
            loop.close()

    def ask(self, numbers: Sequence[int]) -> None:
        """Publish an event for each number."""
        for number in numbers:
            body = json.dumps(cloud_event(number)).encode()
            self.channel.basic_publish("", self.queue, body, pika.BasicProperties(delivery_mode=2))

    def queue_for(self, name: str, *keys: str, **arguments: Any) -> str:
        """Declare a consumer's durable queue, and bind it to the outcomes of these keys."""
        self.channel.queue_declare(name, durable=True, arguments={"x-queue-type": "classic"} | arguments)
        for key in keys:
            self.channel.queue_bind(name, self.exchange, key)
        return name

    def depth(self, queue: str) -> int:
        """Return how many messages a queue has ready."""
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)

    def take(self, queue: str) -> list[dict[str, Any]]:
        """Take all events of a queue."""
        events = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0]:
            events.append(json.loads(got[2] or b""))
        return events

    def listen(self, queue: str, seconds: float) -> list[tuple[str, str | None]]:
        """Consume a queue for so long, and return the routing key and the type of each message."""
        seen: list[tuple[str, str | None]] = []
        channel = self.channel.connection.channel()
        channel.basic_consume(queue, lambda _c, m, p, _b: seen.append((m.routing_key, p.type)), auto_ack=True)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.channel.connection.process_data_events(time_limit=left)
        channel.close()
        return seen

    def page(self, path: str) -> tuple[int, str]:
        """Get one of the worker's pages."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ready(self) -> tuple[int, str]:
        """Return the status of /readyz, and what it says about outcomes."""
        status, body = self.page("/readyz")
        return status, json.loads(body).get("outcomes", "ok")

    def lines(self, action: str) -> list[str]:
        """Return the log lines of an action."""
        return [each.getMessage() for each in self.caplog.records if getattr(each, "action", "") == action]

    def until(self, condition: Callable[[], object], *, seconds: float = SECONDS) -> None:
        """Wait until something is so."""
        assert wait_until(lambda: bool(condition()), seconds=patient(seconds)), self.caplog.text[-3000:]


async def _declare(settings: Settings) -> None:
    """Declare the topology, so that events and bindings may come before the worker."""
    await declared(settings.amqp_url[0].get_secret_value(), bootstrap.topology(settings))


@contextmanager
def site(settings: Settings, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    """Yield a site without a worker; delete its queues and exchanges afterwards."""
    caplog.set_level("INFO", logger="handler")
    topology = bootstrap.topology(settings)
    with ExitStack() as stack:
        url = settings.amqp_url[0].get_secret_value()
        connection = pika.BlockingConnection(pika.URLParameters(url))
        stack.callback(connection.close)
        asyncio.run(_declare(settings))
        channel = connection.channel()
        channel.confirm_delivery()
        yield Site(settings, channel, caplog)
        for queue in topology.queues():
            channel.queue_delete(queue.name)
        for exchange in topology.exchanges():
            channel.exchange_delete(exchange.name)
