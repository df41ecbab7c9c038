"""A server of scripted answers on loopback, and a pool that asks it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from handler.vbs.transport.pool import Pool
from handler.worker import event_loop

T = TypeVar("T")
TIMEOUTS: Mapping[str, float] = {"read": 5.0}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request by its number on the connection, and counts connections."""

    def __init__(self, answer: Answer) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._answer = answer
        self._serving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on a free port; yield the URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            for number in range(100):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self._answer(number, writer)
        writer.transport.abort()


def sends(*answers: bytes) -> Server:
    """Return a server that sends the n-th answer to a connection's n-th request, then the last one."""

    async def answer(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[min(number, len(answers) - 1)])
        await writer.drain()

    return Server(answer)


async def ask(pool: Pool, url: str, timeouts: Mapping[str, float] = TIMEOUTS) -> bytes:
    """Send one request and read the whole answer."""
    request = httpx.Request("GET", url, extensions={"timeout": timeouts})
    response = await pool.handle_async_request(request)
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def ask_three(pool: Pool, url: str) -> Sequence[bytes]:
    """Send three requests one after the other."""
    return [await ask(pool, url) for _ in range(3)]


def with_pool(
    server: Server,
    use: Callable[[Pool, str], Coroutine[Any, Any, T]],
    *,
    limit: int = 4,
    keep: float = 5.0,
    trusted: Path | None = None,
) -> T:
    """Run ``use`` with a pool and a server."""

    async def run() -> T:
        pool = Pool(ssl.create_default_context(cafile=trusted), limit=limit, keep_alive=keep)
        async with server.serving() as url:
            try:
                return await use(pool, url)
            finally:
                await pool.aclose()

    return event_loop.run(run())
