"""Unit tests of ``Stream``, between pika and the socket: it joins writes and splits received bytes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from handler.broker.stream import Stream


class Socket(asyncio.Transport):
    """A transport that records writes and reports a given number of unsent bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closing = False
        self.waiting = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.waiting


class Pika:
    """A protocol in place of pika's that records its calls."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.lost: list[Exception | None] = []
        self.eof = 0

    def connection_made(self, transport: object) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)

    def eof_received(self) -> bool:
        self.eof += 1
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


def run(body: Callable[[Stream, Socket, Pika], Coroutine[Any, Any, None]]) -> None:
    """Run the body with a connected stream."""

    async def connected() -> None:
        pika, sock = Pika(), Socket()
        stream = Stream(pika)  # type: ignore[arg-type] # it only has the methods that Stream calls
        stream.connection_made(sock)
        await body(stream, sock, pika)

    asyncio.run(connected())


def test_writes_of_one_iteration_are_sent_together() -> None:
    """Three frames of one message and an acknowledgement are one write to the socket."""

    async def body(stream: Stream, sock: Socket, _pika: Pika) -> None:
        for frame in (b"method", b"header", b"body", b"ack"):
            stream.write(frame)
        assert [] == sock.writes
        await asyncio.sleep(0)
        assert [b"methodheaderbodyack"] == sock.writes

    run(body)


def test_the_next_iteration_starts_empty() -> None:
    """Bytes that were sent in one iteration are not sent again in the next."""

    async def body(stream: Stream, sock: Socket, _pika: Pika) -> None:
        stream.write(b"one")
        await asyncio.sleep(0)
        stream.write(b"two")
        await asyncio.sleep(0)
        assert [b"one", b"two"] == sock.writes

    run(body)


def test_an_abort_sends_what_was_written() -> None:
    """``abort`` sends the bytes written before it, since pika aborts right after its last frame."""

    async def body(stream: Stream, sock: Socket, _pika: Pika) -> None:
        stream.write(b"close-ok")
        stream.abort()
        await asyncio.sleep(0)
        assert ([b"close-ok"], True) == (sock.writes, sock.closing)

    run(body)


def test_nothing_is_written_to_a_closed_socket() -> None:
    """Unsent bytes are dropped when the connection is lost; asyncio would log a warning for each write."""

    async def body(stream: Stream, sock: Socket, pika: Pika) -> None:
        stream.write(b"late")
        sock.closing = True
        error = ConnectionResetError()
        stream.connection_lost(error)
        await asyncio.sleep(0)
        assert ([], [error]) == (sock.writes, pika.lost)

    run(body)


def test_unsent_bytes_are_counted() -> None:
    """The write buffer's size is the sum of our buffer and the transport's."""

    async def body(stream: Stream, sock: Socket, _pika: Pika) -> None:
        stream.write(b"12345")
        sock.waiting = 100
        assert 105 == stream.get_write_buffer_size()

    run(body)


@pytest.mark.parametrize("size", [1, 16 * 1024, 100_001])
def test_received_bytes_are_handed_to_pika_in_parts(size: int) -> None:
    """pika receives every byte in order, in parts of at most 16 KiB."""
    data = bytes(number % 251 for number in range(size))

    async def body(stream: Stream, _sock: Socket, pika: Pika) -> None:
        stream.data_received(data)
        assert data == b"".join(pika.parts)
        assert max(map(len, pika.parts)) <= 16 * 1024

    run(body)


def test_the_end_of_the_stream_is_handed_to_pika() -> None:
    """``eof_received`` calls pika and returns False, so that asyncio closes the socket."""

    async def body(stream: Stream, _sock: Socket, pika: Pika) -> None:
        assert stream.eof_received() is False
        assert 1 == pika.eof

    run(body)
