"""The broker's limit for bodies (``max_message_size``): parses its refusal, and makes a dead letter fit.

An operator may lower the limit after a message came in. RabbitMQ counts the body only, and closes the
channel.
"""

import re
from typing import Final, Literal, NamedTuple

from handler.broker.connection import ChannelClosed
from handler.errors import TooLarge

FITTED: Final = "dl-body"
"""The header that says how the body of a dead letter was made to fit."""
ORIGINAL_BYTES: Final = "dl-body-bytes"
"""The header with the length of the body as it arrived."""

_PRECONDITION_FAILED = 406
_TEXT = r"message size (?P<size>\d+)\D+ max size (?P<limit>\d+)"


class Fitted(NamedTuple):
    """A body that fits: as gzip it has every byte, cut it has the first ones."""

    body: bytes
    how: Literal["gzip", "cut"]


def too_large(error: Exception, body: bytes) -> TooLarge | None:
    """Return the refusal of this body; None where the broker's text is about another, or something else.

    The refusal of one message fails all that are under way on its channel; the text has the size of that one.
    """
    if not isinstance(error, ChannelClosed) or error.code != _PRECONDITION_FAILED:
        return None
    found = re.search(_TEXT, str(error))
    return TooLarge(len(body), int(found["limit"])) if found and int(found["size"]) == len(body) else None


def fit(body: bytes, limit: int) -> Fitted:
    """Make a body fit: the program reads gzip as the original, so such a dead letter can be replayed."""
    # Imported where it is used: the import takes a millisecond of a cold start.
    import gzip

    packed = gzip.compress(body, mtime=0)
    return Fitted(packed, "gzip") if len(packed) <= limit else Fitted(body[:limit], "cut")
