"""What a call of the function needs around it: broker, API and a context; and what it has left behind."""

import json
import logging
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

from handler import function
from handler.function.instance import COUNTED
from infra.emulator.testing import Emulator
from tests.twins.context import FakeContext

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
DELAYS = (1, 600, 3600)


def event(**data: object) -> dict[str, Any]:
    """A snapshot-completed event of a new snapshot, with an id of its own."""
    snapshot = {"project_id": PROJECT, "volume_id": str(uuid.uuid4()), "snapshot_id": str(uuid.uuid4())}
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "test",
        "type": "snapshot.completed",
        "data": {**snapshot, **data},
    }


def batch(*messages: object) -> dict[str, Any]:
    """What a RabbitMQ trigger calls with; what is no text becomes JSON."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in messages]
    record = {"messages": texts, "instance_id": str(uuid.uuid4()), "exchange": "snapshot-backup"}
    return {"event_version": "v1.0", "trigger_type": "RABBITMQ", "region": "r", "records": [record]}


def counts(received: int, **kinds: int) -> dict[str, int]:
    """The summary of a call."""
    return {"received": received} | {kind: kinds.get(kind, 0) for kind in COUNTED}


@dataclass
class World:
    """Names, connections and what tests ask. ``settings`` is the function's user data."""

    amqp_url: str
    name: str
    emulator: Emulator
    channel: BlockingChannel
    settings: dict[str, str] = field(default_factory=dict)
    context: FakeContext = field(default_factory=FakeContext)

    def __post_init__(self) -> None:
        self.settings |= {
            "AMQP_URL": self.amqp_url,
            "SNAPSHOT_EXCHANGE": f"{self.name}.in",
            "SNAPSHOT_QUEUE": self.name,
            "RESULT_EXCHANGE": f"{self.name}.out",
            "VBS_ENDPOINT": self.emulator.url,
            "WAIT_LADDER": ",".join(map(str, DELAYS)),
            "QUEUE_TYPE": "classic",
        }
        self.context.user_data = self.settings
        self._declare()

    @property
    def queues(self) -> list[str]:
        """Every queue of ours, and the one that collects outcomes."""
        return [self.name, f"{self.name}.dead", f"{self.name}.outcomes", *map(self.wait_queue, DELAYS)]

    def wait_queue(self, seconds: int) -> str:
        """The wait queue of a rung."""
        return f"{self.name}.wait.{seconds}s"

    def call(self, what: object) -> dict[str, int]:
        """Call the function."""
        return function.handler(what, self.context)

    def freeze(self) -> None:
        """A new instance for the next call."""
        function.close()

    def outcomes(self) -> Counter[str]:
        """Take all outcomes and count their types."""
        return Counter(json.loads(body)["type"] for body, _ in self.take(f"{self.name}.outcomes"))

    def dead(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Take all dead letters: body and headers."""
        return self.take(f"{self.name}.dead")

    def waiting(self) -> list[dict[str, Any]]:
        """Take all that waits, on whatever rung, or has come back from there."""
        queues = [*map(self.wait_queue, DELAYS), self.name]
        return [json.loads(body) for queue in queues for body, _ in self.take(queue)]

    def take(self, queue: str) -> list[tuple[bytes, dict[str, Any]]]:
        """Take all messages of a queue."""
        taken: list[tuple[bytes, dict[str, Any]]] = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None or body is None:
                return taken
            taken.append((body, properties.headers or {}))

    def backups(self) -> list[str]:
        """The snapshots of all backups ever made."""
        return [backup["snapshot_id"] for backup in self.emulator.backups()]

    def _declare(self) -> None:
        channel = self.channel
        for exchange, kind in ((self.name, "fanout"), (f"{self.name}.dead", "fanout")):
            channel.exchange_declare(exchange, kind, durable=True)
        channel.exchange_declare(f"{self.name}.out", "topic", durable=True)
        arguments = {"x-queue-type": "classic"}
        channel.queue_declare(f"{self.name}.dead", durable=True, arguments=arguments)
        channel.queue_declare(f"{self.name}.outcomes", durable=True, arguments=arguments)
        channel.queue_bind(f"{self.name}.outcomes", f"{self.name}.out", "#")

    def clean(self) -> None:
        """Remove what was made."""
        function.close()
        for queue in self.queues:
            self.channel.queue_delete(queue)
        for exchange in ("", ".in", ".out", ".dead"):
            self.channel.exchange_delete(self.name + exchange)


@contextmanager
def function_world(amqp_url: str, name: str, emulator: Emulator) -> Iterator[World]:
    """A world for one test; the log's handlers, which the function replaces, are put back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        world = World(amqp_url, name, emulator, connection.channel())
        try:
            yield world
        finally:
            world.clean()
            root.handlers, _ = before
            root.setLevel(before[1])
