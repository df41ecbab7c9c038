"""What the headers of an answer say about its length, and about the next use of its connection.

Both transports apply these rules. Where an answer's length is ambiguous in a way that RFC 9112 lets a client
read, it is read, and its connection is closed: what follows on it may belong to another request.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

KEEP_ALIVE = 4.0
"""Seconds; servers close idle connections after five and more, and a POST that meets that is in doubt."""

_RELEVANT = frozenset({b"content-length", b"transfer-encoding", b"keep-alive"})
_TIMEOUT = re.compile(rb"\btimeout\s*=\s*(\d{1,9})", re.IGNORECASE)


class Framing(NamedTuple):
    """The ``Transfer-Encoding`` headers, whether there is a ``Content-Length``, and its ``Keep-Alive``."""

    codings: Sequence[bytes] = ()
    length: bool = False
    closes_soon: bool = False

    @property
    def readable(self) -> bool:
        """Whether a client can know the length: the only transfer coding of a client is ``chunked``."""
        return not self.codings or (len(self.codings) == 1 and self.codings[0].lower() == b"chunked")

    @property
    def until_close(self) -> bool:
        """Whether the body ends with the connection."""
        return not self.codings and not self.length

    @property
    def reusable(self) -> bool:
        """Whether the connection may be used again: one length, and no short ``Keep-Alive``."""
        return not (self.codings and self.length) and not self.closes_soon


def framing(headers: Iterable[tuple[bytes, bytes]]) -> Framing:
    """Return the framing of an answer."""
    codings: list[bytes] = []
    length = closes_soon = False
    for name, value in headers:
        key = name.lower()
        if key not in _RELEVANT:
            continue
        if key == b"content-length":
            length = True
        elif key == b"transfer-encoding":
            codings.append(value)
        else:
            timeout = _TIMEOUT.search(value)
            closes_soon = timeout is not None and int(timeout[1]) <= KEEP_ALIVE
    return Framing(codings, length, closes_soon)
