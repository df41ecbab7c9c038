"""The live tokens of old Cinder releases are blanked wherever they can be, and nothing else is changed."""

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
    """In both envelopes, however deep they are in others."""
    body = PLACES[place].encode()
    assert TOKEN.encode() in body

    assert TOKEN.encode() not in Message(body).blanked().body


@pytest.mark.parametrize("place", PLACES)
def test_nothing_but_the_token_is_changed(place: str) -> None:
    """The dead letter is otherwise byte for byte what arrived."""
    body = PLACES[place].encode()

    assert body.replace(TOKEN.encode(), b"") == Message(body).blanked().body


@pytest.mark.parametrize(
    "case", [case for case in notifications() if TOKEN not in notifications()[case]["body_utf8"]]
)
def test_without_a_token_nothing_is_changed(case: str) -> None:
    """Recent releases send null."""
    body = notifications()[case]["body_utf8"].encode()

    assert body == Message(body).blanked().body


@pytest.mark.parametrize("body", [LEAK.encode(), INNER.encode()])
def test_what_is_blanked_is_still_the_same_event(body: bytes) -> None:
    """So that it can be replayed."""
    message = Message(body)

    assert decode(message, max_bytes=LIMIT) == decode(message.blanked(), max_bytes=LIMIT)


def test_a_token_does_not_wait() -> None:
    """What waits is written to the broker's disk."""
    waiting = wrap(Message(LEAK.encode()), State(1.0), event_id="e")

    assert len(TOKEN) > 100
    assert wrap(Message(LEAK.replace(TOKEN, "").encode()), State(1.0), event_id="e") == waiting


@pytest.mark.parametrize("place", PLACES)
def test_an_id_that_is_derived_is_the_same_without_the_token(place: str) -> None:
    """So that what waited is still the same event."""
    message = Message(PLACES[place].encode())

    assert message.derived_id == message.blanked().derived_id


def test_the_counts_of_a_delivery_are_no_part_of_the_message() -> None:
    """The broker writes them anew at each delivery."""
    counts = {"x-delivery-count": 2, "x-acquired-count": 3}

    assert {"mine": 1} == Message(b"", None, {**counts, "mine": 1}).blanked().headers


def test_a_body_made_to_be_slow_is_not() -> None:
    """A megabyte of what almost is a token; pytest's time limit would tell."""
    for body in (
        b'"_context_' * 100_000,
        b"\\" * 1_000_000 + b"_context_",
        b'"_context_token": "' * 50_000,
        b'"_context_' + b"token" * 200_000,
    ):
        assert body == Message(body).blanked().body


def test_an_event_without_context_is_left_alone() -> None:
    """A producer's own fields are its own business."""
    body = json.dumps({**load("cloudevents"), "token": "t"}).encode()

    assert body == Message(body).blanked().body
