"""Reads a body that is compressed, in base64, or in another character set than UTF-8.

The first bytes decide; labels say the rest. JSON in UTF-8 does not begin as gzip does, nor with a zero among
its first bytes. So gzip, UTF-16 and UTF-32 are recognised without a label, and a body that begins as JSON is
never decompressed. A function receives no labels, and reads nearly as much as a worker.

Labels are the property ``content_encoding``, a header ``Content-Encoding`` in any spelling, kombu's header
``compression``, and the ``charset`` of the content type. Producers put anything there, so a label that is
unknown matters only if the body cannot be read without it.
"""

import base64
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from events.errors import MalformedEvent

_MAX_LAYERS: Final = 3
"""Encodings inside each other, such as gzip in base64."""
_MAX_MEMBERS: Final = 1_000
"""Gzip members in one body, one after the other."""
_PART: Final = 16_384
"""Compressed bytes that are read at once: zlib copies what follows the end of a member."""
BOM: Final = b"\xef\xbb\xbf"
"""The byte order mark that some editors write before UTF-8."""
_GZIP: Final = b"\x1f\x8b"
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_SPACE: Final = b" \t\r\n"
_SURROGATES: Final = "surrogatepass"

_INFLATED: Final = frozenset(
    {"gzip", "x-gzip", "application/gzip", "application/x-gzip", "deflate", "x-deflate", "zlib"}
)
_UNREADABLE: Final = frozenset(
    {"br", "brotli", "zstd", "compress", "x-compress", "bzip2", "x-bzip2", "bz2", "lzma", "xz", "lz4"}
    | {"snappy", "zip", "application/x-bz2", "application/x-lzma", "application/x-brotli", "application/zstd"}
)
_IDENTITY: Final = frozenset({"", "identity", "binary", "8bit", "7bit", "ascii-8bit", "none", "null"})
_CHARSETS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("utf-8", "utf8", "utf-8-sig", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("utf-16", "utf16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin-1", "latin1", "l1"), "latin-1"),
    **dict.fromkeys(("windows-1252", "cp1252"), "cp1252"),
    **{f"iso-8859-{number}": f"iso8859-{number}" for number in (2, 5, 7, 9, 15)},
    **{f"windows-125{number}": f"cp125{number}" for number in (0, 1, 3, 4)},
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **{name: name for name in ("big5", "shift_jis", "euc-jp", "euc-kr", "koi8-r")},
}
"""The codec for each charset. UTF-16 and UTF-32 are recognised by their bytes."""

_PLAIN: Final = _IDENTITY | {"utf-8", "UTF-8", "utf8"}
_CHARSET = re.compile(r""";\s{0,8}charset\s{0,8}=\s{0,8}["']?([\w.:-]{1,40})""", re.IGNORECASE)
_WIDE: Final = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


class Labels(NamedTuple):
    """What a message says of its body's encoding: words in lower case, and its charset."""

    words: tuple[str, ...] = ()
    charset: str | None = None

    def unknown(self) -> str:
        """Return the labels that this module does not know, to be named in an error."""
        known = _INFLATED | _IDENTITY | _CHARSETS.keys() | {"base64"}
        words = [word for word in self.words if word not in known]
        return ", ".join([*words, *({self.charset} - known if self.charset else ())])[:128]


class Decoded(NamedTuple):
    """A body as far as it can be read, and how to encode another text in its place.

    ``error`` is why the rest cannot be read, None if ``text`` is the whole body.
    """

    text: bytes
    encode: Callable[[bytes], bytes] = bytes
    error: MalformedEvent | None = None


_NO_LABELS: Final = Labels()


def labels_of(content_type: str | None, headers: Mapping[str, Any], properties: Mapping[str, Any]) -> Labels:
    """Return the labels of a message with these properties and headers."""
    coding = properties.get("content_encoding")
    typed = content_type is not None and ";" in content_type
    if not headers and not typed and (coding is None or coding in _PLAIN):
        return _NO_LABELS
    words = list(_words(coding))
    for name, value in headers.items():
        if name.lower().replace("-", "").replace("_", "") in {"contentencoding", "compression"}:
            words += [word for word in _words(value) if word not in words]
    charset = _CHARSET.search(content_type) if content_type and typed else None
    named = charset[1].lower() if charset else next((word for word in words if word in _CHARSETS), None)
    return Labels(tuple(words), named) if words or named else _NO_LABELS


def _words(value: object) -> list[str]:
    """Split a label: HTTP separates by commas, Spring by colons."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return re.split(r"[,:;\s]+", text.lower())[:8] if isinstance(text, str) and text else []


def is_plain(body: bytes) -> bool:
    """Return whether a body begins as JSON in UTF-8, or in another set of which ASCII is a part."""
    return body[:1] in {b"{", b"["} and body[1:2] != b"\0"


def json_bytes(body: bytes, labels: Labels, limit: int) -> bytes:
    """Return a body as JSON in UTF-8, decompressed to at most ``limit`` bytes.

    Raises:
        MalformedEvent: ``bad_encoding``, or ``too_large``.

    """
    if labels is _NO_LABELS and is_plain(body):
        return body
    decoded = decode_body(body, labels, limit)
    if decoded.error:
        raise decoded.error
    codec = _CHARSETS.get(labels.charset or "", "utf-8")
    if codec == "utf-8" and not labels.unknown():
        return decoded.text
    try:
        return decoded.text.decode(codec).encode()
    except UnicodeError:
        raise _unreadable(labels.unknown() or str(labels.charset)) from None


def decode_body(body: bytes, labels: Labels, limit: int) -> Decoded:
    """Undo what hides the text of a body: compression, base64, and the zero bytes of UTF-16 and UTF-32.

    Each step gives at most ``limit`` bytes. Never raises.
    """
    encoders: list[Callable[[bytes], bytes]] = []
    decoded = Decoded(body)
    for _ in range(_MAX_LAYERS):
        step = _step(decoded.text, labels, limit)
        if step is None:
            break
        encoders.insert(0, step.encode)
        decoded = step
        if step.error:
            break
    return decoded._replace(encode=lambda text: _encoded(text, encoders))


def _encoded(text: bytes, encoders: list[Callable[[bytes], bytes]]) -> bytes:
    for encode in encoders:
        text = encode(text)
    return text


def _step(body: bytes, labels: Labels, limit: int) -> Decoded | None:
    """Undo one encoding; None if there is none."""
    if body.startswith(_GZIP):
        return _inflated(body, _GZIP_BITS, limit)
    if codec := wide_codec(body):
        return _narrow(body, codec)
    if _begins_as_json(body):
        return None
    compressed = [word for word in labels.words if word in _INFLATED]
    if compressed and len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0:
        return _inflated(body, _ZLIB_BITS, limit)  # kombu calls this gzip
    if "base64" in labels.words:
        return _from_base64(body)
    if "deflate" in compressed:
        return _inflated(body, _RAW_BITS, limit)
    unread = next((word for word in labels.words if word in _INFLATED | _UNREADABLE), None)
    return Decoded(body, error=_unreadable(unread)) if unread else None


def _begins_as_json(body: bytes) -> bool:
    return body.removeprefix(BOM)[:64].lstrip(_SPACE)[:1] in (b"{", b"[", b'"')


def _unreadable(what: str) -> MalformedEvent:
    return MalformedEvent(
        "bad_encoding", f"the body's encoding {what!r} cannot be read: publish UTF-8 JSON, plain or in gzip"
    )


def wide_codec(body: bytes) -> str | None:
    """Return the codec of a text in UTF-16 or UTF-32: JSON begins with ASCII, so zero bytes show it."""
    for mark, codec in _WIDE:
        if body.startswith(mark):
            return codec
    match [byte != 0 for byte in body[:4]]:
        case [True, False, False, False]:
            return "utf-32-le"
        case [False, False, False, True]:
            return "utf-32-be"
        case [True, False, *_]:
            return "utf-16-le"
        case [False, True, *_]:
            return "utf-16-be"
    return None


def _narrow(body: bytes, codec: str) -> Decoded:
    """Return UTF-16 or UTF-32 in UTF-8. To encode it again restores lone surrogates and cut-off bytes."""
    rest = body[len(body) - len(body) % (4 if "32" in codec else 2) :]
    try:
        text = body[: len(body) - len(rest)].decode(codec, _SURROGATES).encode("utf-8", _SURROGATES)
    except UnicodeDecodeError:
        return Decoded(body, error=MalformedEvent("bad_encoding", f"the body is not {codec} text"))
    error = MalformedEvent("bad_encoding", f"the {codec} text of the body is cut off") if rest else None
    return Decoded(
        text, lambda new: new.decode("utf-8", _SURROGATES).encode(codec, _SURROGATES) + rest, error
    )


def _from_base64(body: bytes) -> Decoded:
    try:
        text = base64.b64decode(b"".join(body.split()), validate=True)
    except ValueError:
        return Decoded(body, error=MalformedEvent("bad_encoding", "the body is not base64"))
    return Decoded(text, base64.b64encode)


def _inflated(body: bytes, wbits: int, limit: int) -> Decoded:
    """Decompress to at most ``limit`` bytes. Zeros after the end are padding, as for the program gzip."""
    text, at = bytearray(), 0
    try:
        for _ in range(_MAX_MEMBERS):
            inflater = zlib.decompressobj(wbits)
            while not inflater.eof:
                if not (part := body[at : at + _PART]):
                    return _damaged(text, wbits, "is cut off")
                text += inflater.decompress(part, limit + 1 - len(text))
                at += len(part) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
                if len(text) > limit:
                    error = MalformedEvent("too_large", f"more than {limit} bytes when it is decompressed")
                    return Decoded(bytes(text), _deflated(wbits), error)
            if wbits == _GZIP_BITS and body.startswith(_GZIP, at):
                continue
            if body[at:].strip(b"\0"):
                return _damaged(text, wbits, "has other bytes after its end")
            return Decoded(bytes(text), _deflated(wbits))
    except zlib.error:
        return _damaged(text, wbits, "is damaged")
    return _damaged(text, wbits, f"has more than {_MAX_MEMBERS} members")


def _damaged(text: bytearray, wbits: int, how: str) -> Decoded:
    error = MalformedEvent("bad_encoding", f"the compressed body {how}")
    return Decoded(bytes(text), _deflated(wbits), error)


def _deflated(wbits: int) -> Callable[[bytes], bytes]:
    """Return a function that compresses; gzip without a time, so that the same text gives the same bytes."""

    def compress(text: bytes) -> bytes:
        deflater = zlib.compressobj(wbits=wbits)
        return deflater.compress(text) + deflater.flush()

    return compress
