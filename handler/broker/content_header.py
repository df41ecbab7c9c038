"""A decoder of AMQP content headers (properties and header tables) that reads whatever a producer sends.

pika's own decoder raises on much that a broker passes on: it recurses, ``datetime`` ends with the year 9999,
it makes an integer of each double, which NaN has none of. What it raises ends the connection, the broker
delivers again, and so on. It also loses the fraction of each double.

``use_tolerant_decoder`` puts this decoder into ``pika.spec.props``, where pika looks up the class of a
content header. That is for the whole process, and public.
"""

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pika

from events.headers import MAX_DEPTH

try:
    from pika.compat import long
except ImportError:  # pika 1.5 has no such class, and sends each whole number in the fewest bytes
    long = int  # type: ignore[misc,assignment]

UNNAMED: Final = "(unnamed)"
"""Stands for a header whose name cannot be read either, and for the properties after it."""

_MOST_NAMES = 32
_ERRORS = (ValueError, IndexError, OverflowError, OSError, struct.error)


class ReceivedProperties(pika.BasicProperties):
    """Properties of a received message. ``bad_headers`` names the headers that could not be read."""

    bad_headers: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def decode(self, encoded: bytes, offset: int = 0) -> "ReceivedProperties":
        """Decode all that can be read. Never raises."""
        bad: list[str] = []
        try:
            self._decode(encoded, offset, bad)
        except _ERRORS:
            bad.append(UNNAMED)
        self.bad_headers = tuple(dict.fromkeys(bad))[:_MOST_NAMES]
        return self

    def _decode(self, encoded: bytes, offset: int, bad: list[str]) -> None:
        flags, offset = _flags(encoded, offset)
        for flag, name, decode in _PROPERTIES:
            if not flags & flag:
                continue
            if decode is None:
                self.headers, offset = _headers(encoded, offset, bad)
            else:
                value, offset = decode(encoded, offset, len(encoded))
                setattr(self, name, value)


def use_tolerant_decoder() -> None:
    """Let pika decode every content header of this process by ``ReceivedProperties``."""
    pika.spec.props[pika.BasicProperties.INDEX] = ReceivedProperties  # type: ignore[assignment]


def _flags(encoded: bytes, offset: int) -> tuple[int, int]:
    """Return the first word of flags; the words that may follow it have no meaning in AMQP 0-9-1."""
    flags = word = _U16(encoded, offset)[0]
    while word & 1:
        offset += 2
        word = _U16(encoded, offset)[0]
    return flags, offset + 2


def _headers(encoded: bytes, offset: int, bad: list[str]) -> tuple[dict[Any, Any], int]:
    """Decode the table of headers, and add to ``bad`` the names of those that cannot be read."""
    offset, end = _extent(encoded, offset, len(encoded))
    headers: dict[Any, Any] = {}
    while offset < end:
        try:
            key, offset = _short_string(encoded, offset, end)
        except _ERRORS:
            bad.append(UNNAMED)
            break
        start = offset
        try:
            headers[key], offset = _value(encoded, start, end, 0)
        except _ERRORS:
            bad.append(key.decode(errors="replace") if isinstance(key, bytes) else key)
            offset = _skip(encoded, start, end)
    return headers, end


def _skip(encoded: bytes, offset: int, end: int) -> int:
    """Return where the value after a bad one begins, or ``end`` where its length is not known."""
    kind = encoded[offset] if offset < end else 0
    try:
        if kind in _FIXED:
            return offset + 1 + _FIXED[kind][1]
        if kind in b"SxAF":
            return _extent(encoded, offset + 1, end)[1]
    except _ERRORS:
        pass
    return end


def _value(encoded: bytes, offset: int, end: int, depth: int) -> tuple[Any, int]:
    """Decode a value that must end at ``end`` or before. Recurses to ``MAX_DEPTH`` and no deeper."""
    if offset >= end:
        raise ValueError("no value")
    kind = encoded[offset]
    offset += 1
    if kind in _FIXED:
        read, size = _FIXED[kind]
        if offset + size > end:
            raise ValueError("a value is cut off")
        return read(encoded, offset), offset + size
    offset, end = _extent(encoded, offset, end)
    match kind:
        case 0x53:  # S
            return _text(encoded[offset:end]), end
        case 0x78:  # x
            return encoded[offset:end], end
        case 0x46:  # F
            return _table(encoded, offset, end, depth + 1), end
        case 0x41:  # A
            return _array(encoded, offset, end, depth + 1), end
    raise ValueError("an unknown type of value")


def _table(encoded: bytes, offset: int, end: int, depth: int) -> dict[Any, Any]:
    _check(depth)
    table = {}
    while offset < end:
        key, offset = _short_string(encoded, offset, end)
        table[key], offset = _value(encoded, offset, end, depth)
    return table


def _array(encoded: bytes, offset: int, end: int, depth: int) -> list[Any]:
    _check(depth)
    array = []
    while offset < end:
        value, offset = _value(encoded, offset, end, depth)
        array.append(value)
    return array


def _check(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")


def _extent(encoded: bytes, offset: int, end: int) -> tuple[int, int]:
    """Return where what has its length in front of it begins and ends."""
    begin = offset + 4
    if begin > end:
        raise ValueError("a length is cut off")
    stop = begin + _U32(encoded, offset)[0]
    if stop > end:
        raise ValueError("a value is cut off")
    return begin, stop


def _short_string(encoded: bytes, offset: int, end: int) -> tuple[str | bytes, int]:
    begin = offset + 1
    stop = begin + encoded[offset]
    if stop > end:
        raise ValueError("a text is cut off")
    return _text(encoded[begin:stop]), stop


def _text(value: bytes) -> str | bytes:
    """Return text, or as pika does the bytes where they are no UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _time(encoded: bytes, offset: int) -> datetime:
    return datetime.fromtimestamp(_U64(encoded, offset)[0], UTC)


def _decimal(encoded: bytes, offset: int) -> Decimal:
    return Decimal(_I32(encoded, offset + 1)[0]).scaleb(-encoded[offset])


def _long(encoded: bytes, offset: int) -> int:
    """Return a whole number that pika 1.4 sends as 64 bits again, however small it is."""
    return long(_I64(encoded, offset)[0])


def _number(form: str) -> Callable[[bytes, int], Any]:
    unpack = struct.Struct(form).unpack_from
    return lambda encoded, offset: unpack(encoded, offset)[0]


_U16 = struct.Struct(">H").unpack_from
_U32 = struct.Struct(">I").unpack_from
_U64 = struct.Struct(">Q").unpack_from
_I32 = struct.Struct(">i").unpack_from
_I64 = struct.Struct(">q").unpack_from

_FIXED: Final[Mapping[int, tuple[Callable[[bytes, int], Any], int]]] = {
    ord("t"): (lambda encoded, offset: bool(encoded[offset]), 1),
    ord("b"): (_number(">b"), 1),
    ord("B"): (_number(">B"), 1),
    ord("s"): (_number(">h"), 2),
    ord("U"): (_number(">h"), 2),
    ord("u"): (_number(">H"), 2),
    ord("I"): (_number(">i"), 4),
    ord("i"): (_number(">I"), 4),
    ord("l"): (_long, 8),
    ord("L"): (_long, 8),
    ord("f"): (_number(">f"), 4),
    ord("d"): (_number(">d"), 8),
    ord("D"): (_decimal, 5),
    ord("T"): (_time, 8),
    ord("V"): (lambda _encoded, _offset: None, 0),
}
"""How a value of fixed size is read, and how many bytes it has, by its type."""

Decoder = Callable[[bytes, int, int], tuple[Any, int]]


def _fixed(kind: str) -> Decoder:
    read, size = _FIXED[ord(kind)]
    return lambda encoded, offset, _end: (read(encoded, offset), offset + size)


def _property_time(encoded: bytes, offset: int, _end: int) -> tuple[int, int]:
    return _U64(encoded, offset)[0], offset + 8


_OCTET = _fixed("B")
_PROPERTIES: Final[tuple[tuple[int, str, Decoder | None], ...]] = (
    (1 << 15, "content_type", _short_string),
    (1 << 14, "content_encoding", _short_string),
    (1 << 13, "headers", None),
    (1 << 12, "delivery_mode", _OCTET),
    (1 << 11, "priority", _OCTET),
    (1 << 10, "correlation_id", _short_string),
    (1 << 9, "reply_to", _short_string),
    (1 << 8, "expiration", _short_string),
    (1 << 7, "message_id", _short_string),
    (1 << 6, "timestamp", _property_time),
    (1 << 5, "type", _short_string),
    (1 << 4, "user_id", _short_string),
    (1 << 3, "app_id", _short_string),
    (1 << 2, "cluster_id", _short_string),
)
"""Flag, name and decoder of each property, in the order in which they follow each other."""
