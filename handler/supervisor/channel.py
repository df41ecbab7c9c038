"""The channel between the supervisor and a worker process: a pair of sockets, one of which is inherited.

It has no address, so that no other user can connect, and it needs no folder that can be written. It carries
the pages of ``HTTP_ADDRESS``: the supervisor sends a path and a line feed; the worker answers with a line of
status, length and content type, and the body. When either process ends, however it ends, the other one reads
the end of the channel.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from handler.status.server import Answer, Page, answered

_LIMIT = 1024
_UNKNOWN = Answer(HTTPStatus.NOT_FOUND, b"no such page\n")


class Channel:
    """The supervisor's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._asked: dict[str, asyncio.Future[Answer | None]] = {}
        """The paths that were asked for and not answered yet, in this order."""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        """Make the channel over one end of a pair."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def ask(self, path: str) -> Answer | None:
        """Ask for a page, once at a time; None where the worker has ended. The caller limits the time."""
        if self._reading.done():
            return None
        if path not in self._asked:
            self._asked[path] = asyncio.get_running_loop().create_future()
            self._writer.write(f"{path}\n".encode())
        return await asyncio.shield(self._asked[path])

    async def _read(self) -> None:
        """Read answers until the worker's end, and tell who asks."""
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    answer = await self._answer()
                    self._asked.pop(next(iter(self._asked))).set_result(answer)
        finally:
            while self._asked:
                self._asked.popitem()[1].set_result(None)

    async def _answer(self) -> Answer:
        status, length, content_type = (await self._reader.readuntil()).decode().rstrip("\n").split(" ", 2)
        body = await self._reader.readexactly(int(length))
        return Answer(HTTPStatus(int(status)), body, content_type)

    async def close(self) -> None:
        """Close this end; a worker that still runs finishes what it has in hand."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        self._writer.transport.abort()


@asynccontextmanager
async def answering(
    number: int, pages: Mapping[str, Page], orphaned: Callable[[], None]
) -> AsyncIterator[None]:
    """Answer the supervisor over the inherited socket ``number``; call ``orphaned`` when it has ended."""
    os.set_inheritable(number, False)  # noqa: FBT003 - the function takes it so
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=number), limit=_LIMIT)
    task = asyncio.create_task(_answer_all(reader, writer, pages, orphaned))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        writer.transport.abort()


async def _answer_all(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    pages: Mapping[str, Page],
    orphaned: Callable[[], None],
) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            path = (await reader.readuntil()).decode().rstrip("\n")
            page = pages.get(path)
            answer = await answered(page) if page else _UNKNOWN
            writer.write(f"{answer.status.value} {len(answer.body)} {answer.content_type}\n".encode())
            writer.write(answer.body)
            await writer.drain()
    orphaned()
