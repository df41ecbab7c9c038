"""The surroundings of a function call in tests: broker, API and context, and helpers to read the results."""

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
    """Return a snapshot-completed event of a new snapshot, with a unique id."""
    snapshot = {"project_id": PROJECT, "volume_id": str(uuid.uuid4()), "snapshot_id": str(uuid.uuid4())}
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "test",
        "type": "snapshot.completed",
        "data": {**snapshot, **data},
    }


def batch(*messages: object) -> dict[str, Any]:
    """Return the payload of a RabbitMQ trigger; messages that are not text become JSON."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in messages]
    record = {"messages": texts, "instance_id": str(uuid.uuid4()), "exchange": "snapshot-backup"}
    return {"event_version": "v1.0", "trigger_type": "RABBITMQ", "region": "r", "records": [record]}


def counts(received: int, **kinds: int) -> dict[str, int]:
    """Return the expected summary of a call."""
    return {"received": received} | {kind: kinds.get(kind, 0) for kind in COUNTED}


@dataclass
class World:
    """Names, connections and readings of one test. ``settings`` is the function's user data."""

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
        """All queues of the topology, and the queue that collects outcomes."""
        others = [f"{self.name}{end}" for end in (".dead", ".outcomes", ".wait.outcomes")]
        return [self.name, *others, *map(self.wait_queue, DELAYS)]

    def wait_queue(self, seconds: int) -> str:
        """Return the name of the wait queue with this delay."""
        return f"{self.name}.wait.{seconds}s"

    def call(self, what: object) -> dict[str, int]:
        """Call the function."""
        return function.handler(what, self.context)

    def freeze(self) -> None:
        """Close the instance, so that the next call starts a new one."""
        function.close()

    def outcomes(self) -> Counter[str]:
        """Consume all outcomes and count their types."""
        return Counter(json.loads(body)["type"] for body, _ in self.take(f"{self.name}.outcomes"))

    def dead(self) -> list[tuple[bytes, dict[str, Any]]]:
        """Consume all dead letters, and return their bodies and headers."""
        return self.take(f"{self.name}.dead")

    def waiting(self) -> list[dict[str, Any]]:
        """Consume all delayed messages, those that returned to the main queue included."""
        queues = [*map(self.wait_queue, DELAYS), self.name]
        return [json.loads(body) for queue in queues for body, _ in self.take(queue)]

    def take(self, queue: str) -> list[tuple[bytes, dict[str, Any]]]:
        """Consume all messages of a queue, and return their bodies and headers."""
        taken: list[tuple[bytes, dict[str, Any]]] = []
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None or properties is None or body is None:
                return taken
            taken.append((body, properties.headers or {}))

    def backups(self) -> list[str]:
        """Return the snapshot of each backup that was created."""
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
        """Close the function, and delete the queues and exchanges."""
        function.close()
        for queue in self.queues:
            self.channel.queue_delete(queue)
        for exchange in ("", ".in", ".out", ".dead"):
            self.channel.exchange_delete(self.name + exchange)


@contextmanager
def function_world(amqp_url: str, name: str, emulator: Emulator) -> Iterator[World]:
    """Yield a world for one test; restore the log handlers, which the function replaces."""
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
