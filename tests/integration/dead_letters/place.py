"""The topology of one test on the broker, with helpers to fill, read and replay its queues."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from typer.testing import CliRunner, Result

from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.publisher import Publisher
from handler.broker.topology import Topology
from handler.cli import app
from tests import forks
from tests.forks import Forked
from tests.patience import patient
from tests.piped import Piped, popen

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
VOLUME = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"
DIED = datetime(2026, 11, 20, tzinfo=UTC)
SECONDS = 60.0
STATE_KEY = "the key of this topology"

Raw = tuple[bytes, dict[str, Any]]
"""Body and headers."""


def snapshot_id(number: int) -> str:
    """Return the snapshot of the numbered event, the same in each call."""
    return str(uuid.uuid5(uuid.UUID(VOLUME), str(number)))


def event(number: int, *, volume_id: str = VOLUME) -> bytes:
    """Return the numbered snapshot event."""
    data = {"project_id": PROJECT, "volume_id": volume_id, "snapshot_id": snapshot_id(number)}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": "test",
            "type": "snapshot.completed",
            "data": data,
        }
    ).encode()


def dead_headers(number: int, category: str = "quota", code: str = "VolumeBackup.0061") -> dict[str, Any]:
    """Return the headers of a dead letter that was dead-lettered ``number`` seconds after ``DIED``."""
    return {
        "own": number,
        "dl-category": category,
        "dl-code": code,
        "dl-status": 413,
        "dl-message": "no room for more backups",
        "dl-attempts": 8,
        "dl-event-id": f"event-{number}",
        "dl-project-id": PROJECT,
        "dl-volume-id": VOLUME,
        "dl-snapshot-id": snapshot_id(number),
        "dl-first-seen": (DIED - timedelta(hours=1)).isoformat(),
        "dl-dead-at": (DIED + timedelta(seconds=number)).isoformat(),
        "dl-source-queue": "q",
    }


def _properties(headers: dict[str, Any]) -> pika.BasicProperties:
    return pika.BasicProperties(content_type="application/json", delivery_mode=2, headers=headers)


@dataclass
class Place:
    """The topology of one test, on queues of one type, and the commands run there."""

    url: str
    topology: Topology
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a child process."""
        return {**os.environ, **self.settings_of_program, "PYTHONPATH": str(Path(__file__).parents[3])}

    @property
    def settings_of_program(self) -> dict[str, str]:
        """The settings of a program on this topology."""
        topology = self.topology
        return {
            "AMQP_URL": self.url,
            "SNAPSHOT_QUEUE": topology.queue,
            "SNAPSHOT_EXCHANGE": topology.snapshot_exchange,
            "RESULT_EXCHANGE": topology.result_exchange,
            "WAIT_LADDER": ",".join(map(str, topology.delays)),
            "QUEUE_TYPE": "quorum" if topology.quorum else "classic",
            "LEDGER_URL": f"sqlite:///{self.folder}/ledger.db",
            "STATE_KEYS": STATE_KEY,
            **self.settings,
        }

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """A channel of the test's own."""
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            yield connection.channel()

    def dead_letter(self, dead_letters: Sequence[Raw]) -> None:
        """Publish dead letters to the queue in order, confirmed."""
        self.publish(self.topology.dead, dead_letters)

    def publish(self, queue: str, messages: Sequence[Raw]) -> None:
        """Publish messages to a queue in order, confirmed."""
        asyncio.run(self._publish(queue, messages))

    async def _publish(self, queue: str, messages: Sequence[Raw]) -> None:
        async with await connect([self.url], Tls()) as connection:
            publisher = await Publisher.open(await connection.channel())
            for start in range(0, len(messages), 1000):
                await asyncio.gather(
                    *(
                        publisher.publish("", queue, body, _properties(headers))
                        for body, headers in messages[start : start + 1000]
                    )
                )

    def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def take(self, queue: str) -> list[Raw]:
        """Consume all messages of a queue, in order."""
        found: list[Raw] = []
        with self.channel() as channel:
            # A quorum queue requeues the messages of a killed client with a short delay.
            for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.5):
                if method is None or properties is None or body is None:
                    return found
                found.append((body, dict(properties.headers or {})))
        return found

    def run(self, *arguments: str) -> Result:
        """Run ``snapshot-backup dead-letters …`` in this process, without a terminal."""
        return CliRunner().invoke(app, ["dead-letters", *arguments], env=self.settings_of_program)

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed, and return its JSON output."""
        done = self.run(*arguments, "--json")
        assert 0 == done.exit_code, done.output
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> Forked:
        """Start ``snapshot-backup dead-letters …`` without waiting for its end."""
        return self._start("dead-letters", *arguments)

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Run a worker until the block ends."""
        process = self._start("worker")
        try:
            yield
        finally:
            process.terminate()
            process.wait(patient(SECONDS))

    def _start(self, *arguments: str) -> Forked:
        with (self.folder / "output.log").open("ab") as output:
            return forks.start(
                "handler",
                arguments,
                environment=self.environment,
                folder=self.folder,
                output=output.fileno(),
            )

    def until(self, condition: Callable[[], bool], *, seconds: float = SECONDS) -> None:
        """Wait for a condition, for at least a minute."""
        over = time.monotonic() + patient(max(seconds, SECONDS))
        while not condition():
            assert time.monotonic() < over, f"the condition did not hold within {seconds:g} s"
            time.sleep(0.05)

    def popen(self, *arguments: str, stdin: int = DEVNULL, stdout: int = PIPE, stderr: int = PIPE) -> Piped:
        """Start ``snapshot-backup dead-letters …`` with these streams."""
        return popen(
            "dead-letters",
            *arguments,
            environment=self.environment,
            folder=self.folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
