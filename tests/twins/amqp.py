"""``AmqpTwin``: a broker on loopback that speaks enough AMQP 0-9-1 to connect, declare, publish and consume.

It says which product and version it is, refuses what a test wants refused, and can fall silent. It keeps no
message. RabbitMQ answers in the same order with the same methods.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import pika.frame
from pika import spec

_CONNECTION_CODES = range(500, 600)
_HEARTBEAT_SECONDS = 0.1
_CAPABILITIES = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
}


class Refusal(NamedTuple):
    """What is refused: an AMQP method, or one with a certain argument. Codes from 500 end the connection."""

    method: type
    code: int
    text: str
    argument: str | None = None


@dataclass
class AmqpTwin:
    """A broker in this event loop. ``unanswered`` are methods that get no answer; heartbeats go on.

    ``heard`` has the names of all methods that came, in order; ``connections`` counts.
    """

    product: str = "RabbitMQ"
    version: str = "3.10.8"
    refusals: Sequence[Refusal] = ()
    unanswered: set[type] = field(default_factory=set)
    host: str = "127.0.0.1"
    port: int = 0
    mute: bool = False
    connections: int = 0
    heard: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@{self.host}:{self.port}/"

    async def deserted(self) -> None:
        """Wait until no connection is open."""
        while self._writers:
            self._left.clear()
            await self._left.wait()

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._left = asyncio.Event()
        self._server = await asyncio.start_server(self._connected, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        beating = asyncio.create_task(self._beat(writer))
        with contextlib.suppress(OSError):
            await _Conversation(self, writer).run(reader)
        beating.cancel()
        writer.close()
        self._writers.discard(writer)
        self._left.set()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            if not self.mute:
                writer.write(pika.frame.Heartbeat().marshal())


class _Conversation:
    """One connection, and what was published on each of its channels."""

    def __init__(self, twin: AmqpTwin, writer: asyncio.StreamWriter) -> None:
        self._twin = twin
        self._writer = writer
        self._published = dict[int, "itertools.count[int]"]()
        self._tags = itertools.count(1)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Answer until the client has gone."""
        data = b""
        while True:
            consumed, frame = pika.frame.decode_frame(data)
            if frame is None:
                part = await reader.read(65_536)
                if not part:
                    return
                data += part
                continue
            data = data[consumed:]
            if isinstance(frame, pika.frame.ProtocolHeader):
                self._start()
            elif isinstance(frame, pika.frame.Method):
                self._hear(frame.channel_number, frame.method)

    def _start(self) -> None:
        properties = {
            "product": self._twin.product,
            "version": self._twin.version,
            "capabilities": _CAPABILITIES,
        }
        self._say(0, spec.Connection.Start(server_properties=properties, mechanisms="PLAIN", locales="en_US"))

    def _hear(self, channel: int, method: Any) -> None:
        self._twin.heard.append(method.NAME)
        if type(method) in self._twin.unanswered:
            return
        for refusal in self._twin.refusals:
            if self._refused(method, refusal):
                self._close(channel, method, refusal)
                return
        answer = self._answer(channel, method)
        if answer is not None:
            self._say(channel, answer)

    def _close(self, channel: int, method: Any, refusal: Refusal) -> None:
        whole = refusal.code in _CONNECTION_CODES or isinstance(method, spec.Connection.StartOk)
        close = spec.Connection.Close if whole else spec.Channel.Close
        where = divmod(method.INDEX, 0x10000)
        self._say(0 if whole else channel, close(refusal.code, refusal.text, *where))

    def _refused(self, method: Any, refusal: Refusal) -> bool:
        arguments = getattr(method, "arguments", None) or {}
        return isinstance(method, refusal.method) and refusal.argument in {None, *arguments}

    def _answer(self, channel: int, method: Any) -> Any:
        match method:
            case spec.Connection.StartOk():
                return spec.Connection.Tune(channel_max=2047, frame_max=131_072, heartbeat=60)
            case spec.Confirm.Select():
                self._published[channel] = itertools.count(1)
                return spec.Confirm.SelectOk()
            case spec.Basic.Publish():
                return spec.Basic.Ack(next(self._published[channel]))
            case spec.Queue.Declare():
                return spec.Queue.DeclareOk(method.queue, 0, 0)
            case spec.Basic.Consume():
                return spec.Basic.ConsumeOk(f"tag-{next(self._tags)}")
            case spec.Basic.Cancel():
                return spec.Basic.CancelOk(method.consumer_tag)
        return answer() if (answer := _PLAIN.get(type(method))) else None

    def _say(self, channel: int, method: Any) -> None:
        if not self._twin.mute:
            with contextlib.suppress(OSError):
                self._writer.write(pika.frame.Method(channel, method).marshal())


_PLAIN = {
    spec.Connection.Open: spec.Connection.OpenOk,
    spec.Connection.Close: spec.Connection.CloseOk,
    spec.Channel.Open: spec.Channel.OpenOk,
    spec.Channel.Close: spec.Channel.CloseOk,
    spec.Exchange.Declare: spec.Exchange.DeclareOk,
    spec.Exchange.Bind: spec.Exchange.BindOk,
    spec.Queue.Bind: spec.Queue.BindOk,
    spec.Basic.Qos: spec.Basic.QosOk,
}
