"""A waiting message is believed only where one of our keys has signed it, whole, for this queue."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from events.decode import Opened, open_message
from events.message import Message, State, wrap
from events.state_keys import MAC, StateKeys
from tests.unit.events.forms import load, message
from tests.unit.events.test_waiting import MESSAGES, NOW, STATES

OLD, NEW, OTHER = b"the key of last year", b"the key of this year", b"the key of a producer"
KEYS = StateKeys("q", (NEW, OLD))
ORIGINAL = message(load("data"))
TRACKED = State(NOW, reason="track", backup_id="b", attempts=3, replay="r", crashes=2)


def opened(body: bytes, keys: StateKeys = KEYS) -> Opened:
    """Open a body with the keys of a queue."""
    return open_message(Message(body), now=NOW, keys=keys)


def envelope() -> dict[str, Any]:
    """Return a parsed waiting message of ours."""
    value: dict[str, Any] = json.loads(wrap(ORIGINAL, TRACKED, event_id="e", keys=KEYS))
    return value


DROPPED = Opened(ORIGINAL, State(NOW), believed=False)


@pytest.mark.parametrize("key", [NEW, OLD], ids=["the newest", "the one before"])
def test_each_key_verifies(key: bytes) -> None:
    """While a key is rotated, messages signed with the old one still wait."""
    body = wrap(ORIGINAL, TRACKED, event_id="e", keys=StateKeys("q", (key,)))

    assert Opened(ORIGINAL, TRACKED) == opened(body)


def test_the_first_key_signs() -> None:
    """A worker that has only the old key does not verify what the new one signs."""
    body = wrap(ORIGINAL, TRACKED, event_id="e", keys=KEYS)

    assert Opened(ORIGINAL, TRACKED) == opened(body, StateKeys("q", (NEW,)))
    assert DROPPED == opened(body, StateKeys("q", (OLD,)))


@pytest.mark.parametrize(
    "keys",
    [None, StateKeys("q", (OTHER,)), StateKeys("other", (NEW, OLD))],
    ids=["unsigned", "another key", "another queue"],
)
def test_of_a_message_that_is_not_ours_only_the_original_is_read(keys: StateKeys | None) -> None:
    """The event is handled as new; its state is dropped."""
    assert DROPPED == opened(wrap(ORIGINAL, TRACKED, event_id="e", keys=keys))


@pytest.mark.parametrize("mac", [None, "", 7, [], "é" * 64, "0" * 64, "\ud800"])
def test_a_mac_that_is_odd_does_not_verify(mac: object) -> None:
    """Nothing raises, whatever stands in its place."""
    assert not KEYS.verify({**envelope(), MAC: mac})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(original=MESSAGES, state=STATES, data=st.data())
def test_no_flipped_bit_is_believed(original: Message, state: State, data: st.DataObject) -> None:
    """One flipped bit anywhere: no other state is read, and no state with another original."""
    body = wrap(original, state, event_id="e", keys=KEYS)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8

    found = opened(bytes(flipped))

    assert found in (Opened(original, state), found._replace(state=State(NOW)))


@pytest.mark.parametrize("name", sorted(set(envelope()) - {MAC}))
def test_every_member_is_signed(name: str) -> None:
    """Changed, left out, or added: the state is dropped."""
    value = envelope()
    del value[name]

    assert not KEYS.verify({**envelope(), name: "x"})
    assert not KEYS.verify(value)
    assert not KEYS.verify({**envelope(), "more": 1})


def test_what_rewrites_the_json_does_not_change_the_signature() -> None:
    """A trigger that hands over objects may order members, and write numbers, in its own way."""
    value = dict(sorted(envelope().items(), reverse=True))
    whole = {**value, "firstseen": 5.0, "acceptedat": 7.0}
    whole[MAC] = KEYS.sign(whole)

    assert KEYS.verify(from_json(json.dumps(value, indent=2)))
    assert KEYS.verify({**whole, "firstseen": 5, "acceptedat": 7})


def test_fields_do_not_run_into_each_other() -> None:
    """What is moved from one field to the next is another message."""
    moved = {"id": "ab", "subject": "c"}, {"id": "a", "subject": "bc"}

    assert KEYS.sign(moved[0]) != KEYS.sign(moved[1])
    assert StateKeys("q{", (NEW,)).sign({}) != StateKeys("q", (NEW,)).sign({"{": 1})


def test_without_keys_crashes_alone_make_no_poison() -> None:
    """The message is handled isolated; only the broker's own count can end it."""
    body = wrap(ORIGINAL, TRACKED._replace(crashes=1_000_000), event_id="e")

    assert TRACKED._replace(crashes=1) == open_message(Message(body), now=NOW).state
