"""One exchange with the API: what is known of it while it runs, and its whole answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx

from handler.backup.hooks import Route


class Attempt:
    """A call while it runs; ``extensions`` are its request's. ``status`` is None until the head has come."""

    __slots__ = ("extensions", "host", "method", "route", "status")

    def __init__(self, route: Route, method: str, host: str, extensions: dict[str, Any]) -> None:
        self.route = route
        self.method = method
        self.host = host
        self.extensions = extensions
        self.status: int | None = None


class Answer(NamedTuple):
    """An answer of which all has come."""

    status: int
    raw_headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @property
    def headers(self) -> httpx.Headers:
        """The headers, by names in any case."""
        return httpx.Headers(self.raw_headers)

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 200 to 299."""
        return 200 <= self.status <= 299
