"""The socket under pika's connection, over asyncio's transport: what a turn of the loop says leaves at once.

pika's own sends each frame by a call of its own, four for an event that is done with, and asks the selector
anew before each lot. Gathered, a worker takes a tenth less CPU for an event (``tests.bench.throughput``).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from pika.adapters import asyncio_connection
from pika.adapters.utils import nbio_interface

_PART = 16 * 1024
"""Bytes handed to pika at once: for each frame that it takes off its buffer it copies what is left."""


class IoServices(asyncio_connection._AsyncioIOServicesAdapter):  # noqa: SLF001 - pika has no public one
    """pika's services of an asyncio loop, for ``custom_ioloop``, with our stream."""

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], nbio_interface.AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[[Any], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> nbio_interface.AbstractIOReference:
        """See ``nbio_interface.AbstractIOServices``."""

        async def connect() -> tuple[Stream, nbio_interface.AbstractStreamProtocol]:
            _, stream = await self.get_native_ioloop().create_connection(
                lambda: Stream(protocol_factory()),
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname,
            )
            return stream, stream.get_protocol()

        return self._schedule_and_wrap_in_io_ref(connect(), on_done)


class Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):
    """A transport to pika, and a protocol to asyncio."""

    def __init__(self, protocol: nbio_interface.AbstractStreamProtocol) -> None:
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []

    # pika calls these …

    def write(self, data: bytes) -> None:
        """Send with all else that is written in this turn of the loop."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def abort(self) -> None:
        """Close at once; what was written before is tried once."""
        self._send()
        if self._transport is not None:
            self._transport.abort()

    def get_protocol(self) -> nbio_interface.AbstractStreamProtocol:
        """Return pika's side."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not left yet."""
        gathered = sum(map(len, self._unsent))
        return gathered + (self._transport.get_write_buffer_size() if self._transport else 0)

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # … and asyncio these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket, and let pika begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by their class
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what came, in parts."""
        for start in range(0, len(data), _PART):
            self._protocol.data_received(data[start : start + _PART])

    def eof_received(self) -> bool | None:
        """Let pika note it; asyncio closes then."""
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell pika."""
        self._protocol.connection_lost(error)
