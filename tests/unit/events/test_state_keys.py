"""Unit tests of ``StateKeys``: a waiting message's state is accepted only with an HMAC for its queue."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.decode import Parsed, parse_message
from events.message import Message, State, wrap
from events.state_keys import MAC, StateKeys
from tests.unit.events.forms import load, message
from tests.unit.events.test_waiting import MESSAGES, NOW, STATES

OLD, NEW, OTHER = b"the key of last year", b"the key of this year", b"the key of a producer"
KEYS = StateKeys("q", (NEW, OLD))
ORIGINAL = message(load("data"))
TRACKED = State(NOW, reason="track", backup_id="b", attempts=3, replay="r", crashes=2)


def parsed(body: bytes, keys: StateKeys = KEYS) -> Parsed:
    """Parse a body with the keys of a queue."""
    return parse_message(Message(body), now=NOW, keys=keys)


OURS = wrap(ORIGINAL, TRACKED, event_id="e", keys=KEYS)
DROPPED = Parsed(ORIGINAL, State(NOW), believed=False)


@pytest.mark.parametrize("key", [NEW, OLD], ids=["the newest", "the one before"])
def test_each_key_verifies(key: bytes) -> None:
    """Each key verifies messages, since those signed with the old key wait during a rotation."""
    body = wrap(ORIGINAL, TRACKED, event_id="e", keys=StateKeys("q", (key,)))

    assert Parsed(ORIGINAL, TRACKED) == parsed(body)


def test_the_first_key_signs() -> None:
    """Messages are signed with the first key, so a worker with only the second key drops their state."""
    body = wrap(ORIGINAL, TRACKED, event_id="e", keys=KEYS)

    assert Parsed(ORIGINAL, TRACKED) == parsed(body, StateKeys("q", (NEW,)))
    assert DROPPED == parsed(body, StateKeys("q", (OLD,)))


@pytest.mark.parametrize(
    "keys",
    [None, StateKeys("q", (OTHER,)), StateKeys("other", (NEW, OLD))],
    ids=["unsigned", "another key", "another queue"],
)
def test_only_the_original_is_read_from_a_message_without_a_valid_hmac(keys: StateKeys | None) -> None:
    """A message without a valid HMAC is handled as a new event; its state is dropped."""
    assert DROPPED == parsed(wrap(ORIGINAL, TRACKED, event_id="e", keys=keys))


@pytest.mark.parametrize(
    "end",
    [
        b"}",
        b',"statemac":null}',
        b',"statemac":""}',
        b',"statemac":7}',
        b',"statemac":"' + b"0" * 64 + b'"}',
        b',"statemac":"' + b"\xc3\xa9" * 32 + b'"}',
        b',"statemac":"' + b"0" * 63 + b'"}',
    ],
)
def test_an_odd_mac_does_not_verify(end: bytes) -> None:
    """A missing or invalid HMAC does not verify and raises no error; the state is dropped."""
    body = OURS.rpartition(b',"statemac"')[0] + end

    assert not KEYS.verify(body)
    assert DROPPED == parsed(body)


@pytest.mark.parametrize("body", [b"", b"{}", b"}", OURS[1:], OURS + b" ", OURS + b"\n", OURS * 2])
def test_no_other_body_verifies(body: bytes) -> None:
    """A body verifies only if the HMAC covers all bytes before it and none follow."""
    assert not KEYS.verify(body)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(original=MESSAGES, state=STATES, data=st.data())
def test_no_flipped_bit_is_believed(original: Message, state: State, data: st.DataObject) -> None:
    """After one flipped bit, original and state are unchanged, or the state is dropped."""
    body = wrap(original, state, event_id="e", keys=KEYS)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8

    found = parsed(bytes(flipped))

    assert found in (Parsed(original, state), found._replace(state=State(NOW)))


@pytest.mark.parametrize("name", sorted(set(json.loads(OURS)) - {MAC}))
def test_every_member_is_signed(name: str) -> None:
    """A body in which a member is changed, removed, added or repeated does not verify."""
    value: dict[str, Any] = json.loads(OURS)
    mac = value.pop(MAC)
    rest = {key: each for key, each in value.items() if key != name}
    for forged in ({**value, name: "x"}, rest, {**value, "more": 1}):
        assert not KEYS.verify(json.dumps({**forged, MAC: mac}, separators=(",", ":")).encode())
    twice = OURS.replace(b"{", b'{"%b":"x",' % name.encode(), 1)
    assert not KEYS.verify(twice)


def test_a_member_after_the_mac_is_not_believed() -> None:
    """The state is dropped if a member follows the HMAC, since its value would replace the signed one."""
    assert DROPPED == parsed(OURS[:-1] + b',"attempts":0}')


def test_a_signature_holds_for_one_text_only() -> None:
    """Equal JSON with other spaces does not verify, since the HMAC covers the bytes."""
    value = json.loads(OURS)

    assert json.dumps(value, separators=(",", ":")).encode() == OURS
    assert not KEYS.verify(json.dumps(value).encode())


def test_the_queue_name_does_not_run_into_the_body() -> None:
    """NUL separates purpose, queue and body in the signed bytes; no queue's name contains it."""
    assert StateKeys("q{", (NEW,)).sign(b"}") != StateKeys("q", (NEW,)).sign(b"{}")
    assert not StateKeys("q{", (NEW,)).verify(StateKeys("q", (NEW,)).sign(b"{}")[1:])


def test_without_keys_a_crash_count_makes_no_poison_message() -> None:
    """Without keys, the crash count is at most one, since a producer may have forged it."""
    body = wrap(ORIGINAL, TRACKED._replace(crashes=1_000_000), event_id="e")

    assert TRACKED._replace(crashes=1) == parse_message(Message(body), now=NOW).state
