"""A blocking broker client for tests: publishes with confirms and collects outcomes, also over restarts."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import pika
import pika.data
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from events.message import Message
from events.outcome import PROBE
from handler.broker.topology import READS_LIMIT
from tests.patience import patient

PERSISTENT = 2
RECONNECT_SECONDS = 0.2
GIVE_UP_SECONDS = 120.0
ANSWER_SECONDS = 20.0
"""A node of a cluster may never confirm what it has sent to a node that was lost meanwhile."""


@dataclass(frozen=True)
class Field:
    """A header value of a type that pika can receive but not send: the type's letter and its bytes."""

    kind: bytes
    content: bytes


_encode_known = pika.data.encode_value


def _encode_value(pieces: list[bytes], value: Any) -> int:
    if not isinstance(value, Field):
        return int(_encode_known(pieces, value))
    pieces.append(value.kind + value.content)
    return 1 + len(value.content)


@contextlib.contextmanager
def fields_of_all_types() -> Iterator[None]:
    """Make pika send ``Field`` values, as other clients can."""
    pika.data.encode_value = _encode_value
    try:
        yield
    finally:
        pika.data.encode_value = _encode_known


class Rabbit:
    """A blocking channel in confirm mode that is reopened when it is lost."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)
        self._parameters.heartbeat = 0
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    def insist(self, work: Callable[[BlockingChannel], Any]) -> Any:
        """Repeat the work until the broker has answered."""
        give_up = time.monotonic() + patient(GIVE_UP_SECONDS)
        while True:
            try:
                with self._bounded(ANSWER_SECONDS):
                    return work(self._open())
            except ChannelClosedByBroker:
                self.close()
                raise
            except (AMQPError, OSError):
                self.close()
                if time.monotonic() > give_up:
                    raise
                time.sleep(RECONNECT_SECONDS)

    def publish(self, exchange: str, key: str, message: Message) -> None:
        """Publish a message, and return when the broker has confirmed it."""
        properties = pika.BasicProperties(
            **{"delivery_mode": PERSISTENT, **message.properties},
            content_type=message.content_type,
            headers=dict(message.headers),
        )
        with fields_of_all_types():
            self.insist(
                lambda channel: channel.basic_publish(exchange, key, message.body, properties, mandatory=True)
            )

    def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        frame = self.insist(lambda channel: channel.queue_declare(queue, passive=True))
        return int(frame.method.message_count)

    def take_all(self, queue: str) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """Consume all ready messages of a queue; yield headers and body."""
        while True:
            method, properties, body = self.insist(lambda channel: channel.basic_get(queue, auto_ack=True))
            if method is None:
                return
            yield properties.headers or {}, body

    def collect(self, queue: str, seconds: float) -> Iterator[bytes]:
        """Yield the bodies that arrive within ``seconds``; each is acknowledged after it was yielded."""
        until = time.monotonic() + seconds
        try:
            with self._bounded(seconds + ANSWER_SECONDS):
                for method, _properties, body in self._open().consume(queue, inactivity_timeout=0.1):
                    if method is not None and body is not None:
                        yield body
                        self._open().basic_ack(method.delivery_tag)
                    if time.monotonic() > until:
                        break
                self._open().cancel()
        except (AMQPError, OSError):
            self.close()
            time.sleep(RECONNECT_SECONDS)

    @contextlib.contextmanager
    def _bounded(self, seconds: float) -> Iterator[None]:
        """Cut the connection where the block takes longer: pika waits for an answer without an end."""
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _cut(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, AttributeError):  # it may be closed already
                transport: Any = self._connection._impl._transport
                transport._sock.shutdown(socket.SHUT_RDWR)

    def _open(self) -> BlockingChannel:
        if self._connection is None or self._channel is None or not self._channel.is_open:
            self.close()
            self._connection = pika.BlockingConnection(self._parameters)
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
            self._channel.basic_qos(prefetch_count=500)
        return self._channel


class Sink:
    """Collects every outcome event from a durable queue."""

    def __init__(self, rabbit: Rabbit, exchange: str, queue: str) -> None:
        self._rabbit = rabbit
        self._exchange = exchange
        self.queue = queue
        self.outcomes: list[dict[str, Any]] = []
        self.declare()

    def declare(self) -> None:
        """Declare the queue and bind it, also after a test has deleted it."""
        self._rabbit.insist(self._declare)

    def _declare(self, channel: BlockingChannel) -> None:
        channel.exchange_declare(self._exchange, "topic", durable=True)
        # Each poll gives back what it has not yielded; from RabbitMQ 4 the 20th return would drop a message.
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": READS_LIMIT}
        channel.queue_declare(self.queue, durable=True, arguments=arguments)
        channel.queue_bind(self.queue, self._exchange, "#")

    def poll(self, seconds: float) -> None:
        """Collect the outcomes that arrive within ``seconds``."""
        events = [json.loads(body) for body in self._rabbit.collect(self.queue, seconds)]
        self.outcomes += [event for event in events if event["type"] != PROBE]

    def ended(self, types: Iterable[str]) -> set[str]:
        """Return the ids of the events that have an outcome of these types."""
        wanted = set(types)
        return {each["correlationid"] for each in self.outcomes if each["type"] in wanted}


def delete(rabbit: Rabbit, queues: Sequence[str], exchanges: Sequence[str]) -> None:
    """Delete a test's queues and exchanges from a shared broker."""
    for queue in queues:
        with contextlib.suppress(AMQPError):
            rabbit.insist(partial(BlockingChannel.queue_delete, queue=queue))
    for exchange in exchanges:
        with contextlib.suppress(AMQPError):
            rabbit.insist(partial(BlockingChannel.exchange_delete, exchange=exchange))
