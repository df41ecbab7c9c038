"""Unit tests of the content header decoder: it names headers that it cannot read, and never raises."""

import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pika.data
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.broker.content_header import UNNAMED, ReceivedProperties, use_tolerant_decoder
from handler.broker.properties import received
from tests.unit.broker.header_frames import decoded, frame, long, nested, short, table

use_tolerant_decoder()

UNREADABLE = {
    "tables in tables": nested(500),
    "arrays in arrays": nested(26_000, kind=b"A"),
    "year 10000": b"T" + struct.pack(">Q", 253_402_300_800),
    "largest time": b"T" + b"\xff" * 8,
    "cut off": b"S" + struct.pack(">I", 100),
    "unknown type": b"?",
    "table that is cut off": b"F" + long(short(b"key")),
    "array with half a number": b"A" + long(b"I\0\0"),
    "no value": b"",
}


def test_pika_decodes_content_headers_by_our_class() -> None:
    """pika finds our decoder in ``pika.spec.props``; its own would end the connection on deep headers."""
    assert isinstance(decoded(frame(table())), ReceivedProperties), (
        "pika no longer looks up content headers in pika.spec.props: "
        "find another way to hand it handler.broker.content_header.ReceivedProperties"
    )


@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_header_is_named_and_those_before_it_are_kept(value: bytes) -> None:
    """The message names its unreadable header and keeps the headers before it."""
    message = received(decoded(frame(table(before=b"t\1", odd=value))), b"", redelivered=False)
    assert (("odd",), {"before": True}) == (message.bad_headers, message.headers)


@pytest.mark.parametrize("name", ["tables in tables", "arrays in arrays", "year 10000"])
def test_what_follows_an_unreadable_header_of_known_size_is_kept(name: str) -> None:
    """Headers and properties after an unreadable header are kept if the header's size is known."""
    headers = table(odd=UNREADABLE[name], after=b"S" + long(b"kept"))
    found = decoded(frame(headers + short(b"m"), flags=1 << 13 | 1 << 7))
    assert ({"after": "kept"}, "m") == (found.headers, found.message_id)


@pytest.mark.parametrize(
    ("form", "value"), [("d", 2.5), ("f", 0.5), ("d", math.inf), ("d", -math.inf), ("d", math.nan)]
)
def test_a_double_keeps_its_value(form: str, value: float) -> None:
    """A double is decoded to a float of the same value; pika would decode an integer or raise."""
    found = decoded(frame(table(own=form.encode() + struct.pack(f">{form}", value)))).headers["own"]
    assert (repr(value), float) == (repr(found), type(found))


def test_headers_that_have_no_end_are_named_as_a_whole() -> None:
    """Headers that exceed the frame are named as a whole, and the properties after them are not read."""
    found = decoded(frame(struct.pack(">I", 1_000) + b"short", flags=1 << 13 | 1 << 7))
    assert isinstance(found, ReceivedProperties)
    assert ((UNNAMED,), None, None) == (found.bad_headers, found.headers, found.message_id)


def test_flags_without_end_are_no_endless_loop() -> None:
    """Decoding ends although each word of flags announces another; the headers are named as unreadable."""
    found = decoded(frame(b"\xff" * 1_000, flags=0xFFFF))
    assert isinstance(found, ReceivedProperties)
    assert (UNNAMED,) == found.bad_headers


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | st.integers(0, 253_402_300_799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
    | st.decimals(-(2**31), 2**31 - 1, places=0).map(lambda value: Decimal(int(value)).scaleb(-3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(st.text("abcdef", min_size=1), VALUES, max_size=5),
    st.text(max_size=20),
    st.integers(0, 2**64 - 1),
)
def test_what_pika_can_read_is_read_as_pika_reads_it(
    headers: dict[str, Any], text: str, timestamp: int
) -> None:
    """Our decoder returns the same properties as pika's own decoder, and names no header as unreadable."""
    sent = pika.BasicProperties(
        content_type=text, headers=headers, timestamp=timestamp, cluster_id=text, priority=7
    )
    encoded = b"".join(sent.encode())
    ours = ReceivedProperties().decode(encoded)
    assert vars(pika.BasicProperties().decode(encoded)) == {
        name: value for name, value in vars(ours).items() if name != "bad_headers"
    }
    assert () == ours.bad_headers
