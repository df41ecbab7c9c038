"""Unit tests of ``Message.blanked``: it removes live tokens of old Cinder releases, and nothing else."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from events.decode import decode
from events.message import Message, State, wrap
from tests.unit.events.forms import LIMIT, load, notifications

LEAK = notifications()["cinder-18-snapshot.create.end-keystone"]["body_utf8"]
INNER = json.loads(LEAK)["oslo.message"]
TOKEN = json.loads(INNER)["_context_auth_token"]


def _trigger(text: str) -> str:
    return json.dumps({"trigger_type": "RABBITMQ", "records": [{"messages": [text]}]})


def _record(text: str) -> str:
    return json.dumps({"request_context": {}, "request_payload": text})


PLACES = {
    "wrapped": LEAK,
    "bare": INNER,
    "wrapped in a trigger": _trigger(LEAK),
    "bare in a trigger": _trigger(INNER),
    "wrapped in a call's record": _record(_trigger(LEAK)),
    "bare in a call's record": _record(_trigger(INNER)),
    "without blanks": json.dumps(json.loads(INNER), separators=(",", ":")),
    "on lines of its own": json.dumps(json.loads(INNER), indent=2),
    "first": json.dumps({"_context_auth_token": TOKEN, **json.loads(INNER)}),
    "in the payload": json.dumps({"payload": {"_context_auth_token": TOKEN}}),
    "another name": INNER.replace("_context_auth_token", "_context_service_token"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_token_is_blanked(place: str) -> None:
    """A token is removed from both forms of a notification, and inside other envelopes."""
    body = PLACES[place].encode()
    assert TOKEN.encode() in body

    assert TOKEN.encode() not in Message(body).blanked().body


@pytest.mark.parametrize("place", PLACES)
def test_nothing_but_the_token_is_changed(place: str) -> None:
    """All other bytes of the body stay the same."""
    body = PLACES[place].encode()

    assert body.replace(TOKEN.encode(), b"") == Message(body).blanked().body


@pytest.mark.parametrize(
    "case", [case for case in notifications() if TOKEN not in notifications()[case]["body_utf8"]]
)
def test_a_body_without_a_token_is_not_changed(case: str) -> None:
    """The notifications of recent releases, which send null, stay the same."""
    body = notifications()[case]["body_utf8"].encode()

    assert body == Message(body).blanked().body


@pytest.mark.parametrize("body", [LEAK.encode(), INNER.encode()])
def test_a_blanked_message_is_still_the_same_event(body: bytes) -> None:
    """A blanked message is decoded to the same event, so that it can be replayed."""
    message = Message(body)

    assert decode(message, max_bytes=LIMIT) == decode(message.blanked(), max_bytes=LIMIT)


def test_a_waiting_message_has_no_token() -> None:
    """A waiting message, which the broker writes to its disk, does not contain the token."""
    waiting = wrap(Message(LEAK.encode()), State(1.0), event_id="e")

    assert len(TOKEN) > 100
    assert wrap(Message(LEAK.replace(TOKEN, "").encode()), State(1.0), event_id="e") == waiting


@pytest.mark.parametrize("place", PLACES)
def test_a_derived_id_is_the_same_without_the_token(place: str) -> None:
    """The derived id does not depend on the token, so a delayed message is still the same event."""
    message = Message(PLACES[place].encode())

    assert message.derived_id == message.blanked().derived_id


def _of_codec(codec: str) -> "Encoded":
    return lambda text: text.decode().encode(codec), lambda body: body.decode(codec).encode(), {}


Encoded = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes], Mapping[str, Any]]
ENCODED: Mapping[str, Encoded] = {
    "gzip": (gzip.compress, gzip.decompress, {}),
    "gzip of several members": (
        lambda text: gzip.compress(text[:500]) + gzip.compress(text[500:]),
        gzip.decompress,
        {},
    ),
    "zlib": (zlib.compress, zlib.decompress, {"content_encoding": "deflate"}),
    "base64": (base64.b64encode, base64.b64decode, {"content_encoding": "base64"}),
    "gzip in base64": (
        lambda text: base64.b64encode(gzip.compress(text)),
        lambda body: gzip.decompress(base64.b64decode(body)),
        {"content_encoding": "gzip, base64"},
    ),
    **{codec: _of_codec(codec) for codec in ("utf-16", "utf-16-le", "utf-32-be")},
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_token_is_blanked_in_an_encoded_body(name: str) -> None:
    """The blanked body has the encoding that its labels say, and all of the text but the token."""
    encode, read, properties = ENCODED[name]
    blanked = Message(encode(LEAK.encode()), None, {}, properties).blanked()

    assert LEAK.replace(TOKEN, "").encode() == read(blanked.body)
    assert (blanked, properties) == (blanked.blanked(), blanked.properties)


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoded_body_without_a_token_is_not_changed(name: str) -> None:
    """An encoded body without a token keeps its bytes, though compressing it again might give others."""
    encode, _, properties = ENCODED[name]
    body = encode(LEAK.replace(TOKEN, "").encode())

    assert body == Message(body, None, {}, properties).blanked().body


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoded_message_keeps_its_derived_id(name: str) -> None:
    """The derived id of an encoded body does not change when its token is blanked."""
    encode, _, properties = ENCODED[name]
    message = Message(encode(LEAK.encode()), None, {}, properties)

    assert Message(LEAK.encode()).derived_id == message.derived_id == message.blanked().derived_id


def test_a_token_is_blanked_in_a_truncated_body() -> None:
    """Of a truncated body with a token, the part that can be read is kept, without the token."""
    body = gzip.compress(LEAK.encode(), compresslevel=0)[:-20]
    assert TOKEN.encode() in body
    message = Message(body)

    kept = gzip.decompress(message.blanked().body)

    assert LEAK.replace(TOKEN, "").encode().startswith(kept)
    assert len(kept) > 1_000
    assert message.derived_id == message.blanked().derived_id


def test_a_token_is_blanked_in_the_beginning_of_a_bomb() -> None:
    """A body that is too large to be read whole has no token in the part that is kept."""
    message = Message(gzip.compress(LEAK.encode() + b" " * 40_000_000))

    assert TOKEN.encode() not in gzip.decompress(message.blanked().body)


def test_a_blanked_message_has_no_delivery_counts() -> None:
    """The broker's counts are removed, since the broker sets them at each delivery."""
    counts = {"x-delivery-count": 2, "x-acquired-count": 3}

    assert {"mine": 1} == Message(b"", None, {**counts, "mine": 1}).blanked().headers


def test_no_body_makes_blanking_slow() -> None:
    """A megabyte of near-matches is processed well within pytest's time limit."""
    for body in (
        b'"_context_' * 100_000,
        b"\\" * 1_000_000 + b"_context_",
        b'"_context_token": "' * 50_000,
        b'"_context_' + b"token" * 200_000,
    ):
        assert body == Message(body).blanked().body


def test_a_field_called_token_outside_a_context_is_kept() -> None:
    """A producer's own field is not changed."""
    body = json.dumps({**load("cloudevents"), "token": "t"}).encode()

    assert body == Message(body).blanked().body
