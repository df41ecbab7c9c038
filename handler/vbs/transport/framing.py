"""What the headers of an answer say about its length, and about the next use of its connection.

Both transports apply these rules. Where an answer's length is ambiguous in a way that RFC 9112 lets a client
read, it is read, and its connection is closed: what follows on it may belong to another request.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

KEEP_ALIVE = 4.0
"""Seconds; servers close idle connections after five and more, and a POST that meets that is in doubt."""

_RELEVANT = frozenset({b"content-length", b"transfer-encoding", b"keep-alive", b"content-encoding"})
_TIMEOUT = re.compile(rb"\btimeout\s*=\s*(\d{1,9})", re.IGNORECASE)


class Framing(NamedTuple):
    """The framing of an answer.

    ``codings`` are its ``Transfer-Encoding`` headers. ``sized`` and ``encoded`` say whether it has a
    ``Content-Length`` and a ``Content-Encoding``; ``closes_soon``, that its ``Keep-Alive`` is short.
    """

    codings: Sequence[bytes] = ()
    sized: bool = False
    closes_soon: bool = False
    encoded: bool = False

    @property
    def readable(self) -> bool:
        """Whether a client can know the length: the only transfer coding of a client is ``chunked``."""
        return not self.codings or (len(self.codings) == 1 and self.codings[0].lower() == b"chunked")

    @property
    def until_close(self) -> bool:
        """Whether the body ends with the connection."""
        return not self.codings and not self.sized

    @property
    def reusable(self) -> bool:
        """Whether the connection may be used again: one length, and no short ``Keep-Alive``."""
        return not (self.codings and self.sized) and not self.closes_soon


UNKNOWN = Framing()
"""Before the head of an answer has come."""

_USUAL = Framing(sized=True)


def framing(headers: Iterable[tuple[bytes, bytes]]) -> Framing:
    """Return the framing of an answer."""
    relevant = [(key, value) for name, value in headers if (key := name.lower()) in _RELEVANT]
    if len(relevant) == 1 and relevant[0][0] == b"content-length":
        return _USUAL
    codings = [value for key, value in relevant if key == b"transfer-encoding"]
    names = {key for key, _ in relevant}
    timeouts = [_TIMEOUT.search(value) for key, value in relevant if key == b"keep-alive"]
    return Framing(
        codings,
        sized=b"content-length" in names,
        closes_soon=any(each is not None and int(each[1]) <= KEEP_ALIVE for each in timeouts),
        encoded=b"content-encoding" in names,
    )
