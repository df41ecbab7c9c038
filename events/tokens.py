"""Blanks the live tokens that old Cinder releases put into notifications, in a body of any encoding."""

import re
from typing import Final

from events.encoding import BOM, Decoded, Labels, decode_body, is_plain

_LIMIT: Final = 16 * 1024 * 1024
"""Decompressed bytes that are searched."""

# The quotes may be escaped, since the inner message is JSON text inside JSON. Bounded, so that no body makes
# this slow.
_TOKEN = re.compile(rb'(\\{0,7})"(_context_\w{0,40}token\w{0,40})\1"(\s{0,8}:\s{0,8})\1"[^"\\]{1,65536}\1"')


def _blanked(text: bytes) -> bytes:
    return _TOKEN.sub(rb'\1"\2\1"\3\1"\1"', text) if b"_context_" in text else text


def without_tokens(body: bytes, labels: Labels) -> bytes:
    """Return the body with empty tokens. A body without a token is returned as it is, byte for byte.

    An encoded body that has a token is encoded again. If it is damaged, the part that can be read is kept.
    """
    if is_plain(body):
        return _blanked(body)
    return _blanked_whole(body, labels)[0]


def canonical(body: bytes, labels: Labels) -> bytes:
    """Return what identifies a body: its text without tokens, however it is encoded.

    Of a damaged body without a token it is the bytes.
    """
    if is_plain(body):
        return _blanked(body)
    blanked, decoded = _blanked_whole(body, labels)
    return body if decoded.error and blanked is body else _blanked(decoded.text).removeprefix(BOM)


def _blanked_whole(body: bytes, labels: Labels) -> tuple[bytes, Decoded]:
    decoded = decode_body(body, labels, _LIMIT)
    text = _blanked(decoded.text)
    return body if text == decoded.text else decoded.encode(text), decoded
