"""AMQP content headers as bytes, including invalid ones that our encoder would not write."""

import struct

import pika
import pika.frame
from pika.frame import Header

HEADERS = 1 << 13
"""The flag that announces the headers table."""


def short(text: bytes) -> bytes:
    """Return a short string."""
    return bytes([len(text)]) + text


def long(content: bytes) -> bytes:
    """Return content with its length in front of it."""
    return struct.pack(">I", len(content)) + content


def table(**values: bytes) -> bytes:
    """Return a table; each value has its type in front."""
    return long(b"".join(short(key.encode()) + value for key, value in values.items()))


def nested(levels: int, *, kind: bytes = b"F") -> bytes:
    """Return a value of tables in tables, or of arrays in arrays."""
    value = b"V"
    for _ in range(levels):
        value = kind + (table(a=value) if kind == b"F" else long(value))
    return value


def frame(properties: bytes, *, flags: int = HEADERS) -> bytes:
    """Return a content header frame of a message without a body."""
    payload = struct.pack(">HHQH", 60, 0, 0, flags) + properties
    return struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"


def decoded(data: bytes) -> pika.BasicProperties:
    """Return the properties that pika reads from a frame."""
    size, found = pika.frame.decode_frame(data)
    assert len(data) == size
    assert isinstance(found, Header)
    return found.properties


class RawProperties(pika.BasicProperties):
    """Properties whose headers are given, and sent, as encoded bytes."""

    def __init__(self, headers: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.raw = headers

    def encode(self) -> list[bytes]:
        """Return the flags and the table."""
        return [struct.pack(">H", HEADERS), self.raw]
