"""Unit tests of ``Message.blanked``: it removes live tokens of old Cinder releases, and nothing else."""

import json

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
