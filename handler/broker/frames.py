"""The frames of a publish as bytes, with what is the same each time prepared once.

A reader may skip this module: pika's ``basic_publish`` makes the same bytes, in five times the time.
(``tests/unit/broker/test_frames.py``)
"""

import struct
from collections.abc import Callable
from typing import Protocol

import pika
from pika import spec
from pika.frame import Method

_HEADER = struct.Struct(">BHIHHQ").pack
"""Of the frame: type, channel, length; of the content header: class, weight, size of the body."""
_HEADER_SIZE = 12
_BODY = struct.Struct(">BHI").pack
_END = bytes([spec.FRAME_END])
_AROUND_BODY = 8
_MOST_ROUTES = 64
_PLACE = "\0message id\0"


class Properties(Protocol):
    """Properties that can be published: pika's own, or those of ``Prepared``."""

    @property
    def message_id(self) -> str | None:
        """The message id, by which a returned message is found."""

    def encode(self) -> list[bytes]:
        """Return the bytes of flags and values, in parts."""


class PublishFrames:
    """Makes the frames of one channel. ``frame_max`` is the largest frame that was agreed with the broker."""

    def __init__(self, channel: int, frame_max: int) -> None:
        self._channel = channel
        self._part = frame_max - _AROUND_BODY
        self._methods: dict[tuple[str, str], bytes] = {}

    def make(self, exchange: str, routing_key: str, body: bytes, properties: Properties) -> bytes:
        """Return the frames of one message, mandatory. Raises as ``encode`` of the properties does."""
        try:
            method = self._methods[exchange, routing_key]
        except KeyError:
            method = self._method(exchange, routing_key)
        values = b"".join(properties.encode())
        size = _HEADER_SIZE + len(values)
        header = _HEADER(spec.FRAME_HEADER, self._channel, size, spec.Basic.INDEX, 0, len(body))
        return b"".join((method, header, values, _END, *self._parts(body)))

    def _method(self, exchange: str, routing_key: str) -> bytes:
        if len(self._methods) >= _MOST_ROUTES:
            self._methods.clear()
        publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        method = Method(self._channel, publish).marshal()
        self._methods[exchange, routing_key] = method
        return method

    def _parts(self, body: bytes) -> list[bytes]:
        """Return the body's frames, in parts; an empty body has none."""
        found = []
        for start in range(0, len(body), self._part):
            part = body[start : start + self._part]
            found += [_BODY(spec.FRAME_BODY, self._channel, len(part)), part, _END]
        return found


class Prepared:
    """Properties of which all but the message id are encoded already."""

    def __init__(self, before: bytes, message_id: str, after: bytes) -> None:
        self.message_id: str | None = message_id
        self._before = before
        self._after = after

    def encode(self) -> list[bytes]:
        """Return the bytes of flags and values, in parts."""
        value = (self.message_id or "").encode()
        return [self._before, bytes([len(value)]), value, self._after]


def prepare(properties: pika.BasicProperties) -> Callable[[str], Prepared]:
    """Encode properties; return a function that adds a message id, of 1 to 255 ASCII characters."""
    properties.message_id = _PLACE
    before, after = b"".join(properties.encode()).split(bytes([len(_PLACE)]) + _PLACE.encode())
    return lambda message_id: Prepared(before, message_id, after)
