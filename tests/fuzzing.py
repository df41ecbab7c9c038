"""Fuzz targets: random bytes that come from outside. ``check`` raises an error if a promise is broken.

``tests/unit/test_fuzz.py`` runs a few inputs of each; ``python -m tests.bench.fuzz`` runs any number.
"""

import asyncio
import json
import random
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import httpx
from pika.frame import Header, decode_frame

from events.headers import headers_from_json, headers_to_json, too_deep
from events.message import Message, State, wrap
from events.outcome import AcceptedBackup
from events.republish import inert
from events.state_keys import StateKeys
from handler.backup.parse import Parser
from handler.backup.received import Receiver
from handler.backup.result import Job, dead_letter_headers
from handler.broker.content_header import use_tolerant_decoder
from handler.broker.fitting import fitting
from handler.broker.properties import received, to_publish
from handler.errors import ApiError
from handler.vbs.client import VbsClient
from tests.twins.events import cloud_event
from tests.twins.world import World
from tests.unit.broker.header_frames import frame, long, short
from tests.unit.events.forms import COMPLETED, REQUESTED, load
from tests.unit.vbs.world import ACCEPTED, PROJECT, REQUEST

KINDS: Final = b"tbBsUuIilLfdDTVSxAF?\0\xff"
FRAME: Final = 131_072
NOW: Final = 1_800_000_000.0
KEYS: Final = StateKeys("q", (b"k" * 32,))


class Target(Protocol):
    """One kind of input."""

    def check(self, rng: random.Random) -> None:
        """Generate an input, and check how the program handles it."""

    def close(self) -> None:
        """Close the resources of the target."""


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Return data with some bytes replaced, removed, doubled or truncated."""
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data = data[:at] + rng.randbytes(rng.randrange(1, 5)) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + rng.randrange(1, 9) :]
            case 2:
                data = data[:at] + data[max(0, at - rng.randrange(30)) :]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]
    return data


# content headers


def _value(rng: random.Random, depth: int = 0) -> bytes:
    kind = bytes([rng.choice(KINDS)])
    match kind:
        case b"A" if depth < 6:
            return kind + long(b"".join(_value(rng, depth + 1) for _ in range(rng.randrange(4))))
        case b"F" if depth < 6:
            return kind + _table(rng, rng.randrange(4), depth + 1)
        case b"S" | b"x":
            return kind + long(rng.randbytes(rng.randrange(40)))
        case _:
            return kind + rng.choice((rng.randbytes(8), b"\xff" * 8, b"\0" * 8))[: _size(kind)]


def _size(kind: bytes) -> int:
    """Return the size in bytes of a value by its type; other types have 8."""
    sizes = {
        b"t": 1,
        b"b": 1,
        b"B": 1,
        b"s": 2,
        b"U": 2,
        b"u": 2,
        b"I": 4,
        b"i": 4,
        b"f": 4,
        b"D": 5,
        b"V": 0,
    }
    return sizes.get(kind, 8)


def _table(rng: random.Random, entries: int, depth: int = 0) -> bytes:
    keys = (b"CC", b"x-death", b"x-delivery-count", b"dl-message", b"own", b"\xff", b"")
    pairs = (short(rng.choice(keys)) + _value(rng, depth) for _ in range(entries))
    return long(b"".join(pairs))


def _properties(rng: random.Random) -> bytes:
    texts = b"".join(short(rng.randbytes(rng.randrange(20))) for _ in range(rng.randrange(4)))
    if rng.random() < 0.05:
        kind, levels = rng.choice((b"A", b"F")), rng.randrange(30, 600)
        value = b"V"
        for _ in range(levels):
            value = kind + long(value if kind == b"A" else short(b"k") + value)
        return long(short(b"deep") + value) + texts
    return _table(rng, rng.randrange(6)) + texts


def made_up_message(rng: random.Random, body: bytes) -> Message:
    """Return a message whose content header pika has read from damaged bytes."""
    flags = rng.choice((1 << 13, 1 << 13 | 1 << 7, 1 << 15 | 1 << 13, rng.randrange(1 << 16)))
    data = frame(damaged(rng, _properties(rng)), flags=flags)
    consumed, found = decode_frame(data)
    assert consumed == len(data)
    assert isinstance(found, Header)
    return received(found.properties, body, redelivered=rng.random() < 0.5)


class Headers:
    """AMQP content headers, read by pika's decoder; a message with them can be delayed and published."""

    def __init__(self) -> None:
        use_tolerant_decoder()

    def check(self, rng: random.Random) -> None:
        """Read a content header, and delay and dead-letter a message with it."""
        message = made_up_message(rng, b"{}")
        assert not any(map(too_deep, message.headers.values()))
        kept = headers_from_json(json.loads(json.dumps(headers_to_json(message.headers))))
        assert kept.keys() == message.headers.keys()
        assert wrap(message, State(NOW), event_id="e")
        dead = inert(message)
        sent = to_publish(dead, fitting({**dead.headers, "dl-category": "malformed"}, FRAME - 4_096))
        size = sum(map(len, sent.encode()))
        assert size < FRAME
        assert "malformed" == sent.headers["dl-category"]

    def close(self) -> None:
        """Do nothing."""


# answers


class _Wire(asyncio.Transport):
    """A transport that answers each request with the given parts."""

    def __init__(self, protocol: asyncio.Protocol, parts: list[bytes], error: Exception | None) -> None:
        super().__init__()
        self._protocol = protocol
        self._parts = parts
        self._error = error
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        if self._closing:
            return
        if self._parts:
            self._protocol.data_received(self._parts.pop(0))
            asyncio.get_running_loop().call_soon(self._answer)
        else:
            self._lose(self._error)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)

    def abort(self) -> None:
        self._lose(None)

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Answers:
    """HTTP answers, read by the pool and the API client; each leads to a backup or an ``ApiError``."""

    def __init__(self) -> None:
        # Imported here, since the extra ``fast`` may not be installed.
        from handler.vbs.transport.connection import Connection
        from handler.vbs.transport.http import LeanClient
        from handler.vbs.transport.pool import Pool

        fuzz = self

        class WiredPool(Pool):
            async def _connect(self, origin: object, timeout: float | None) -> Connection:
                connection = Connection()
                connection.connection_made(_Wire(connection, fuzz.parts, fuzz.error))
                return connection

        self.parts: list[bytes] = []
        self.error: Exception | None = None
        self._loop = asyncio.new_event_loop()
        self._pool = WiredPool(ssl.create_default_context(), limit=1, keep_alive=5.0)
        client = LeanClient(self._pool, httpx.Timeout(5.0))
        self._api = VbsClient(client, "http://vbs.example.com", timeout=5.0)

    def check(self, rng: random.Random) -> None:
        """Answer one request with a damaged answer."""
        data = damaged(rng, _answer(rng))
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
        ends = [*cuts, len(data)]
        self.parts[:] = filter(None, (data[a:b] for a, b in zip([0, *cuts], ends, strict=True)))
        self.error = rng.choice((None, None, ConnectionResetError("reset")))
        self._loop.run_until_complete(self._call())
        assert not self._pool._slots.locked(), "a connection of the pool was lost"

    async def _call(self) -> None:
        try:
            made = await self._api.create(PROJECT, REQUEST)
        except ApiError as error:
            assert error.category  # noqa: PT017 - that it is one is all
        else:
            assert isinstance(made, AcceptedBackup)
        await self._pool.aclose()

    def close(self) -> None:
        """Close the loop."""
        self._loop.run_until_complete(self._api.aclose())
        self._loop.close()


def _answer(rng: random.Random) -> bytes:
    status = rng.choice((202, 200, 400, 401, 403, 404, 409, 413, 429, 500, 503, 100, rng.randrange(1000)))
    fault = {"badRequest": {"code": f"VolumeBackup.{rng.randrange(100):04}", "message": "no\x1b", "x": [{}]}}
    body = json.dumps(rng.choice((ACCEPTED, fault, [], None, {"backup": None}))).encode()
    body = rng.choice((body, damaged(rng, body), b"<html>" + rng.randbytes(50), rng.randbytes(100)))
    lines = [b"HTTP/1.1 %d Any" % status, b"Content-Type: application/json"]
    lines += rng.sample(
        [
            b"Content-Encoding: gzip",
            b"Connection: close",
            b"Retry-After: " + rng.choice((b"5", b"-1", b"1e9", b"Wed, 21 Oct 2099 07:28:00 GMT", b"\xff")),
            b"X-Request-Id: " + rng.randbytes(5).hex().encode(),
            b"Location: http://other.example.com/",
            b"Content-Length: " + rng.choice((b"0", b"-5", b"99999999999999999999")),
            b"Upgrade: h2c",
        ],
        k=rng.choice((0, 0, 1, 2)),
    )
    if rng.random() < 0.3:
        lines.append(b"Transfer-Encoding: chunked")
        at = rng.randrange(len(body) + 1)
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:at], body[at:]) if part]
        body = b"".join(chunks) + b"0\r\n" + rng.choice((b"", b"X-Trailer: 1\r\n")) + b"\r\n"
    else:
        lines.append(b"Content-Length: %d" % (len(body) + rng.choice((0, 0, 0, 1, -1))))
    first = rng.choice((b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
    return (
        first + b"\r\n".join(lines) + b"\r\n\r\n" + body + rng.choice((b"", b"", b"HTTP/1.1 202 Any\r\n\r\n"))
    )


# messages


class Messages:
    """Bodies and headers, received and parsed; each leads to a job, or to a result with a dead letter."""

    def __init__(self) -> None:
        use_tolerant_decoder()
        world = World()
        self._parser = Parser(world.services(), world.selection)
        self._receivers = [Receiver(keys, lambda: NOW) for keys in (KEYS, None)]
        self._samples = [json.dumps(load(name)).encode() for name in COMPLETED + REQUESTED]
        self._samples.append(json.dumps(cloud_event(1)).encode())

    def check(self, rng: random.Random) -> None:
        """Receive and parse one message."""
        body = rng.choice(self._samples)
        if rng.random() < 0.4:
            body = self._waiting(rng, body)
        message = made_up_message(rng, damaged(rng, body))
        found = rng.choice(self._receivers).receive(message)
        assert found.state.first_seen <= NOW
        parsed = self._parser.parse(found)
        assert found.parked()
        if isinstance(parsed, Job):
            assert parsed.project_id
            return
        if parsed.dead_letter is not None:
            assert "bug" != parsed.dead_letter.code
            dead = inert(parsed.original)
            why = dead_letter_headers(parsed, parsed.dead_letter, now=NOW, queue="q")
            assert to_publish(dead, fitting({**dead.headers, **why}, FRAME - 4_096)).encode()

    def _waiting(self, rng: random.Random, body: bytes) -> bytes:
        """Return a delayed message with random values in its state."""
        value = json.loads(wrap(Message(body), State(NOW), event_id="e", keys=KEYS))
        odd: list[Any] = [1e300, -1, 0, NOW + 1e6, None, "../../x", [], {}, True, "x" * 300, 2**70, "track"]
        for _ in range(rng.randrange(4)):
            value[rng.choice((*value, *_STATE))] = rng.choice(odd)
        return json.dumps(value).encode()

    def close(self) -> None:
        """Do nothing."""


_STATE = (
    "backupid",
    "acceptedat",
    "doubtsince",
    "lookups",
    "absentsince",
    "absences",
    "replayid",
    "traceparent",
)

TARGETS: Final[Mapping[str, Callable[[], Target]]] = {
    "headers": Headers,
    "answers": Answers,
    "messages": Messages,
}
