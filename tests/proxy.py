"""A TCP proxy that fails on demand, for the connections of a program to its broker or API."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

# With a linger time of 0, a close sends a reset, as a broken machine or firewall would.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
CHUNK = 65_536
START_SECONDS = 10


class TcpProxy:
    """Forwards loopback connections to a target, until a test makes it fail.

    It runs in its own thread from entering the `with` block to leaving it, so that it can
    stand before blocking and asyncio programs alike. Clients connect to `host` and `port`;
    `accepted` counts their connections.
    """

    host = "127.0.0.1"
    port: int

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._swallowing = False
        self._refusing = False
        self._delay = 0.0
        self._rewritten = (b"", b"")
        self._forgotten: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self.swallowed = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="tcp-proxy")

    def cut_all(self) -> None:
        """Reset every open connection, on both sides."""
        self._in_loop(self._abort_all)

    def forget_all(self) -> None:
        """Drop all bytes on the connections that are open now; new connections work."""
        self._in_loop(lambda: self._forgotten.update(self._writers))

    def swallow(self, on: bool) -> None:
        """Drop all bytes in both directions, and keep the connections open: they are half-open then."""
        self._swallowing = on

    def refuse(self, on: bool) -> None:
        """Reset each new connection at once; open connections stay."""
        self._refusing = on

    def delay(self, seconds: float) -> None:
        """Delay each piece of data by this time, in both directions; 0 means no delay."""
        self._delay = seconds

    def rewrite(self, one: bytes, other: bytes) -> None:
        """Replace some bytes by others of the same length, within one piece of data."""
        assert len(one) == len(other)
        self._rewritten = (one, other)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_loop(self._stop.set)
        self._thread.join()

    def _in_loop(self, action: Callable[[], object]) -> None:
        """Run the action in the proxy's thread, and wait until it has ended."""

        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._ready.result()).result(START_SECONDS)

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connect, self.host, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        server.close()
        self._abort_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _abort_all(self) -> None:
        for writer in self._writers:
            _reset(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._refusing:
            _reset(writer)
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, target_writer}
        if self._stop.is_set():
            self._abort_all()
        await asyncio.gather(self._pump(reader, target_writer), self._pump(target_reader, writer))
        self._writers -= {writer, target_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await asyncio.sleep(self._delay)
                if self._swallowing or writer in self._forgotten:
                    self.swallowed += len(data)
                    continue
                writer.write(data.replace(*self._rewritten) if self._rewritten[0] else data)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    reset_on_close(writer)
    writer.transport.abort()


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Make the end of a connection a reset."""
    connection: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it may have been closed a moment ago
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
