"""Bytes of an answer → JSON, within bounds."""

import json
from collections.abc import AsyncIterator
from typing import cast

import httpx

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer that are read at most; 100 backups in detail are about a quarter of it."""


class Unreadable(ValueError):
    """The body is too long, compressed against our wish, or not JSON."""


class Whole(httpx.AsyncByteStream):
    """A body that has come already, as short ones do: read at once, without a generator for each layer.

    Its maker sees to the bound, since it is in memory already, and that it is not compressed; nothing is left
    to close.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


async def read_body(response: httpx.Response) -> bytes:
    """Read the whole body, and close the answer.

    Raises:
        Unreadable: it is longer than ``BODY_LIMIT``, or compressed.

    """
    if isinstance(response.stream, Whole):
        return response.stream.content
    try:
        _refuse_compressed(response)
        stream = _Bounded(cast("httpx.AsyncByteStream", response.stream))
        return b"".join([part async for part in stream])
    finally:
        await response.aclose()


def bound(response: httpx.Response) -> None:
    """Let reading raise ``Unreadable`` as soon as it exceeds ``BODY_LIMIT``; now if it is compressed."""
    _refuse_compressed(response)
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def _refuse_compressed(response: httpx.Response) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Unreadable(f"the body is compressed ({encoding[:40]})")


class _Bounded(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > BODY_LIMIT:
                raise Unreadable(f"the body is longer than {BODY_LIMIT} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def parse_json(body: bytes) -> object:
    """Parse a document. Raises ``Unreadable``."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
