"""Read the body of an HTTP answer within a size limit, and parse it as JSON."""

import json
from collections.abc import AsyncIterator
from typing import cast

import httpx
from pydantic_core import from_json

BODY_LIMIT = 1024 * 1024
"""The most bytes of an answer that are read; 100 backups in detail need about a quarter of it."""

_NOT_COMPRESSED = frozenset({"", "identity"})


class Unreadable(ValueError):
    """The body is too long, compressed although we asked for none, not JSON, or lacks a required field."""


class Whole(httpx.AsyncByteStream):
    """A body that arrived together with its head, as short ones do; reading it needs no generator.

    The caller ensures that it is not compressed and that its size is bounded. There is nothing to close.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.content


async def read_body(response: httpx.Response) -> bytes:
    """Read the whole body and close the answer. A sign-in may have read it already.

    Raises:
        Unreadable: the body is longer than ``BODY_LIMIT``, or compressed.

    """
    if isinstance(response.stream, Whole):
        return response.stream.content
    if response.is_stream_consumed:
        _refuse_compressed(response)
        if len(response.content) > BODY_LIMIT:
            raise Unreadable(f"the body is longer than {BODY_LIMIT} bytes")
        return response.content
    try:
        _refuse_compressed(response)
        stream = _Bounded(cast("httpx.AsyncByteStream", response.stream))
        return b"".join([part async for part in stream])
    finally:
        await response.aclose()


def bound(response: httpx.Response) -> None:
    """Make reading more than ``BODY_LIMIT`` raise ``Unreadable``. A compressed body raises it now."""
    _refuse_compressed(response)
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def _refuse_compressed(response: httpx.Response) -> None:
    encoding = response.headers.get("content-encoding", "")
    if any(coding.strip().lower() not in _NOT_COMPRESSED for coding in encoding.split(",")):
        raise Unreadable(f"the body is compressed ({encoding[:40]}), although we asked for none")


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
    """Parse a JSON document. Raises ``Unreadable``.

    pydantic's parser reads it, in half the time. What that refuses is left to Python's, which also reads half
    characters, other character sets and a byte order mark.
    """
    try:
        return from_json(body)
    except ValueError:
        return _parse_slowly(body)


def _parse_slowly(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
