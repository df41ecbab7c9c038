"""The socket under pika's connection, over an asyncio transport.

All frames that are written in one iteration of the event loop are sent together. pika's own transport sends
each frame by a call of its own, four for each event, and asks the selector before each lot. Sending them
together saves a tenth of the worker's CPU time per event (``tests.bench.throughput``).
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from pika.adapters import asyncio_connection
from pika.adapters.utils import nbio_interface

_PART = 16 * 1024
"""Bytes handed to pika at once: for each frame that it parses, it copies the rest of its buffer."""


class IoServices(asyncio_connection._AsyncioIOServicesAdapter):  # noqa: SLF001 - pika has no public one
    """pika's I/O services for an asyncio loop (``custom_ioloop``), with ``Stream`` as the transport."""

    _stream: "Stream | None" = None

    def write(self, data: bytes) -> None:
        """Send whole frames that were not made by pika, in order with those that were."""
        if self._stream is not None:
            self._stream.write(data)

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
            unowned.clear()
            _, stream = await self.get_native_ioloop().create_connection(
                lambda: Stream(protocol_factory()),
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname,
            )
            self._stream = stream
            return stream, stream.get_protocol()

        def release() -> None:
            for each in unowned:
                each.close()
            if self._stream is not None:
                self._stream.abort()

        unowned = [sock]
        return Operation(connect(), on_done, release)

    def _schedule_and_wrap_in_io_ref(
        self, coro: Awaitable[Any], on_done: Callable[[Any], None]
    ) -> "Operation":
        return Operation(coro, on_done)


class Operation(nbio_interface.AbstractIOReference):
    """Something of asyncio's that pika waits for, such as a name to resolve.

    pika's own calls ``on_done`` after ``cancel`` where the operation has just ended: an attempt to connect
    that is given up would go on, without an owner. ``release`` frees what a cancelled operation holds.
    """

    def __init__(
        self,
        work: Awaitable[Any],
        on_done: Callable[[Any], None],
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = asyncio.ensure_future(work)
        self._on_done = on_done
        self._release = release
        self._cancelled = False
        self._work.add_done_callback(self._ended)

    def cancel(self) -> bool:
        """Have ``on_done`` not called; return whether there was anything to cancel."""
        going_on, self._cancelled = not self._cancelled, True
        self._work.cancel()
        return going_on

    def _ended(self, work: "asyncio.Future[Any]") -> None:
        error = None if work.cancelled() else work.exception()
        if self._cancelled or work.cancelled():
            self._release()
        else:
            self._on_done(error or work.result())


class Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):
    """The transport that pika writes to, and the protocol that asyncio calls."""

    def __init__(self, protocol: nbio_interface.AbstractStreamProtocol) -> None:
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []

    # pika calls these methods.

    def write(self, data: bytes) -> None:
        """Send together with all that is written in this iteration of the event loop."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def abort(self) -> None:
        """Send what was written, once, and close without waiting."""
        self._send()
        if self._transport is not None:
            self._transport.abort()

    def get_protocol(self) -> nbio_interface.AbstractStreamProtocol:
        """Return pika's protocol."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Return how many bytes were not sent yet."""
        gathered = sum(map(len, self._unsent))
        return gathered + (self._transport.get_write_buffer_size() if self._transport else 0)

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # asyncio calls these methods.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and start pika's protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Hand the bytes to pika, in parts."""
        for start in range(0, len(data), _PART):
            self._protocol.data_received(data[start : start + _PART])

    def eof_received(self) -> bool | None:
        """Hand the end of the stream to pika; asyncio then closes the socket."""
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Report the lost connection to pika."""
        # pika asserts where a connection is given up that is not yet open, as after Ctrl-C.
        with contextlib.suppress(AssertionError):
            self._protocol.connection_lost(error)
