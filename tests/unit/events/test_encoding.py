"""Unit tests of encoded bodies: compression, base64 and character sets are read within bounds, or refused."""

import base64
import bz2
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from events.decode import decode
from events.errors import EventError
from events.message import Message, State, wrap
from events.snapshot import SnapshotEvent
from tests.unit.events.forms import LIMIT, load

PLAIN = json.dumps(load("cloudevents")).encode()
NAMED = json.dumps({**load("data"), "snapshot_name": "Größe"}, ensure_ascii=False)


def raw_deflate(data: bytes) -> bytes:
    """Return data in the raw format that some HTTP libraries call deflate."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def labelled(body: bytes, content_encoding: str) -> Message:
    """Return a message with this property ``content_encoding``."""
    return Message(body, "application/json", {}, {"content_encoding": content_encoding})


def refusal(message: Message, max_bytes: int = LIMIT) -> EventError:
    """Return the error that a message is refused with."""
    with pytest.raises(EventError) as caught:
        decode(message, max_bytes=max_bytes)
    return caught.value


READABLE: Mapping[str, Message] = {
    "gzip": labelled(gzip.compress(PLAIN), "gzip"),
    "gzip without a label": Message(gzip.compress(PLAIN)),
    "gzip in upper case": labelled(gzip.compress(PLAIN), "GZIP"),
    "x-gzip": labelled(gzip.compress(PLAIN), "x-gzip"),
    "Spring's label": labelled(gzip.compress(PLAIN), "gzip:UTF-8"),
    "HTTP's list": labelled(gzip.compress(PLAIN), "gzip, identity"),
    "a header": Message(gzip.compress(PLAIN), None, {"Content-Encoding": "gzip"}),
    "a header of bytes": Message(zlib.compress(PLAIN), None, {"content_encoding": b"deflate"}),
    "header and property": Message(
        gzip.compress(PLAIN), None, {"content-encoding": "gzip"}, {"content_encoding": "gzip"}
    ),
    "kombu's compression": Message(
        zlib.compress(PLAIN), None, {"compression": "application/x-gzip"}, {"content_encoding": "utf-8"}
    ),
    "several members": labelled(gzip.compress(PLAIN[:99]) + gzip.compress(PLAIN[99:]), "gzip"),
    "padding": labelled(gzip.compress(PLAIN) + b"\0" * 512, "gzip"),
    "zlib as gzip": labelled(zlib.compress(PLAIN), "gzip"),
    "zlib as deflate": labelled(zlib.compress(PLAIN), "deflate"),
    "raw deflate": labelled(raw_deflate(PLAIN), "deflate"),
    "base64": labelled(base64.encodebytes(PLAIN), "base64"),
    "gzip in base64": labelled(base64.b64encode(gzip.compress(PLAIN)), "gzip, base64"),
    "gzip of UTF-16": labelled(gzip.compress(PLAIN.decode().encode("utf-16")), "gzip"),
    **{
        f"the label {label}": labelled(PLAIN, label)
        for label in (
            "utf-8",
            "UTF-8",
            "utf8",
            "binary",
            "8bit",
            "identity",
            "ascii-8bit",
            "application/json",
        )
    },
    **{
        f"plain JSON labelled {label}": labelled(PLAIN, label)
        for label in ("gzip", "deflate", "br", "base64")
    },
    "a mark": Message(b"\xef\xbb\xbf" + PLAIN),
    "gzip of a mark": Message(gzip.compress(b"\xef\xbb\xbf" + PLAIN)),
    **{name: Message(PLAIN.decode().encode(name)) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")},
    "utf-16 with a label": labelled(PLAIN.decode().encode("utf-16-le"), "utf-16"),
    "UTF-8 labelled utf-16": labelled(PLAIN, "utf-16"),
    "an unknown charset": Message(PLAIN, "application/json; charset=klingon"),
}


@pytest.mark.parametrize("name", READABLE)
def test_an_encoded_body_is_the_same_event(name: str) -> None:
    """An event in a readable encoding is decoded as the plain one, whatever its labels are."""
    assert decode(Message(PLAIN), max_bytes=LIMIT) == decode(READABLE[name], max_bytes=LIMIT)


@pytest.mark.parametrize("name", READABLE)
def test_an_encoded_body_has_the_derived_id_of_its_text(name: str) -> None:
    """The derived id is that of the text, so that worker and function derive the same one."""
    assert Message(PLAIN).derived_id == READABLE[name].derived_id


CHARSETS = ("iso-8859-1", "latin-1", "windows-1252", "utf-16", "ISO-8859-15", "gb18030")


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("where", ["content type", "content encoding"])
def test_a_charset_is_respected(charset: str, where: str) -> None:
    """A name outside ASCII is read by the charset of the content type or of ``content_encoding``."""
    body = NAMED.encode(charset)
    message = labelled(body, charset)
    if where == "content type":
        message = Message(body, f'application/json; charset="{charset}"')

    event = decode(message, max_bytes=LIMIT)

    assert isinstance(event, SnapshotEvent)
    assert "Größe" == event.snapshot.snapshot_name


REFUSED: Mapping[str, tuple[Message, str]] = {
    "truncated": (labelled(gzip.compress(PLAIN)[:-9], "gzip"), "is cut off"),
    "truncated in its head": (Message(b"\x1f\x8b\x08"), "is cut off"),
    "damaged": (labelled(gzip.compress(PLAIN)[:-8] + b"\0" * 8, "gzip"), "is damaged"),
    "trailing garbage": (labelled(gzip.compress(PLAIN) + b"garbage", "gzip"), "other bytes after its end"),
    "a second member that is cut off": (
        Message(gzip.compress(PLAIN) + gzip.compress(PLAIN)[:20]),
        "is cut off",
    ),
    "endless members": (Message(gzip.compress(b"") * 5_000), "more than 1000 members"),
    "not gzip": (labelled(b"hello", "gzip"), "'gzip' cannot be read"),
    "brotli": (labelled(b"\x0b\x02\x80{}\x03", "br"), "'br' cannot be read"),
    "zstd": (labelled(b"\x28\xb5\x2f\xfd\x00", "zstd"), "'zstd' cannot be read"),
    "kombu's bzip2": (Message(bz2.compress(PLAIN), None, {"compression": "application/x-bz2"}), "x-bz2"),
    "not deflate": (labelled(b"hello", "deflate"), "is damaged"),
    "an unknown coding": (labelled(b"\xfe\x01", "aes128gcm"), "'aes128gcm' cannot be read"),
    "not base64": (labelled(b"%%%%", "base64"), "not base64"),
    "an unknown charset": (Message(NAMED.encode("latin-1"), "text/json; charset=klingon"), "'klingon'"),
    "a wrong charset": (labelled(NAMED.encode("latin-1"), "euc-jp"), "'euc-jp' cannot be read"),
    "half a character of UTF-16": (Message(PLAIN.decode().encode("utf-16") + b"x"), "is cut off"),
    "not UTF-32": (Message(b"\xff\xfe\0\0\xff\xff\xff\xff"), "not utf-32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unreadable_body_is_refused_with_its_reason(name: str) -> None:
    """A body whose encoding is damaged or unknown is malformed, and the reason says what is wrong."""
    message, reason = REFUSED[name]
    error = refusal(message)

    assert ("malformed", "bad_encoding", message.derived_id) == (
        error.category,
        error.code,
        error.ids.event_id,
    )
    assert reason in error.message


BOMBS: Mapping[str, bytes] = {
    "zeros": gzip.compress(b"\0" * 200_000_000),
    "JSON": gzip.compress(b'{"a": "' + b"x" * 100_000_000 + b'"}'),
    "a bomb in a bomb": gzip.compress(gzip.compress(b"\0" * 200_000_000)),
    "many members": gzip.compress(b" " * 100_000) * 900,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_bounded_memory(name: str) -> None:
    """A body that grows beyond the limit is refused as too large before it is whole."""
    message = labelled(BOMBS[name], "gzip")
    tracemalloc.start()
    try:
        with pytest.raises(EventError) as caught:
            decode(message, max_bytes=LIMIT)
        blanked, peak = message.blanked(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert ("malformed", "too_large", message.body) == (
        caught.value.category,
        caught.value.code,
        blanked.body,
    )
    assert peak < 80_000_000


def test_the_limit_counts_decompressed_bytes() -> None:
    """A body of exactly the limit is decoded after it is decompressed, one of a byte more is refused."""
    message = labelled(gzip.compress(PLAIN), "gzip")

    assert isinstance(decode(message, max_bytes=len(PLAIN)), SnapshotEvent)
    assert "too_large" == refusal(message, len(PLAIN) - 1).code


@pytest.mark.parametrize("name", READABLE)
def test_an_encoded_message_waits_unchanged(name: str) -> None:
    """A waiting message contains the encoded body and its labels, so that it is decoded as before."""
    message = READABLE[name]
    body = base64.urlsafe_b64encode(message.body)

    waiting: dict[str, Any] = json.loads(wrap(message, State(1.0), event_id="e"))

    assert body.decode() == waiting["data"]["body"]
    assert dict(message.properties) == waiting["data"]["properties"]
