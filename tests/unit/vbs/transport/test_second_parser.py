"""Random damage to answers: our transport, over httptools, reads the same as h11, which httpx uses."""

import asyncio
import random
import re
from collections.abc import Sequence

import httpx
import pytest

pytest.importorskip("httptools", reason="the extra `fast` is not installed")

from handler.vbs.transport.connection import HEADER_LIMIT, Connection
from handler.vbs.transport.framing import framing
from handler.vbs.transport.second_parser import SecondParser
from infra.emulator.faults import raw_answer
from tests.conformance.answers import ANSWERS
from tests.fuzzing import damaged

SHORT = [answer.template for answer in ANSWERS if len(answer.template) < 5_000]
BODY = b'{"backup": {"id": "6c1f0b7a-93d4-4e55-a2b8-0d7e4f9c1a26"}}'

Reading = tuple[int, bytes]
"""Status and body of an answer."""

LEFT = re.compile(rb"HTTP/1\.[0-9] [0-9]{3}[^\n]*[\x00\x0b\x0c]|[0-9a-fA-F]{21}|\n\r?\n\r?\nHTTP")
"""The differences that are left, which httptools reads: control characters in a reason, long chunk sizes, and
empty lines after an interim answer."""


class Socket(asyncio.Transport):
    """A socket whose bytes the test passes on."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Ignore the request."""

    def abort(self) -> None:
        """Do nothing: the test ends the connection."""

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def is_closing(self) -> bool:
        """Return False."""
        return False


class Reader:
    """Keeps what h11 reads."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the body may last until the connection ends."""
        self.complete = framing(self.headers).until_close

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self.body += part

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


def read_by_h11(data: bytes) -> Reading | None:
    """Return what h11 reads, or None."""
    reader = Reader()
    parser = SecondParser(reader, HEADER_LIMIT)
    try:
        parser.feed_data(data)
    except ValueError:
        return None
    return (parser.get_status_code(), reader.body) if reader.complete else None


async def read_by_us(parts: Sequence[bytes]) -> Reading | None:
    """Return what a connection reads, or None."""
    connection = Connection()
    connection.connection_made(Socket())
    asking = asyncio.create_task(connection.ask(b"", None))
    await asyncio.sleep(0)
    for part in parts:
        connection.data_received(part)
    connection.connection_lost(None)
    try:
        status, _ = await asking
        return status, b"".join([part async for part in connection.body(None)])
    except httpx.RemoteProtocolError:
        return None


def in_parts(rng: random.Random, data: bytes) -> Sequence[bytes]:
    """Return the data in one to four parts, as the network may deliver it."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [part for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if (part := data[a:b])]


def test_a_damaged_answer_is_read_as_by_h11(rng: random.Random) -> None:
    """Whatever the damage, and wherever the network cuts the answer, both parsers read the same or refuse."""

    async def run() -> None:
        for _ in range(1_000):
            data = damaged(rng, raw_answer(rng.choice(SHORT), BODY))
            if not LEFT.search(data):
                assert read_by_h11(data) == await read_by_us(in_parts(rng, data)), data

    asyncio.run(run())
