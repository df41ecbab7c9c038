"""Bytes of an answer → JSON, within bounds."""

import json

import httpx

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer that are read at most; 100 backups in detail are about a quarter of it."""


class Unreadable(ValueError):
    """The body is too long, compressed against our wish, or not JSON."""


async def read_body(response: httpx.Response, limit: int = BODY_LIMIT) -> bytes:
    """Read the whole body. Raises ``Unreadable`` where it is longer than ``limit`` bytes or compressed."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unreadable(f"the body is compressed ({response.headers['content-encoding'][:40]})")
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise Unreadable(f"the body is longer than {limit} bytes")
    return b"".join(parts)


def parse_json(body: bytes) -> object:
    """Parse a document. Raises ``Unreadable``."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Unreadable("the body is not JSON") from None
