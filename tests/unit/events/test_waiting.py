"""Unit tests of waiting messages: ``wrap`` and ``parse_message`` keep original and state."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.decode import decode, parse_message
from events.errors import EventError
from events.message import WAITING, Message, State, WaitReason, wrap
from events.properties import NUMBERS
from events.properties import TEXTS as TEXT_PROPERTIES
from events.state_keys import StateKeys
from tests.unit.events.forms import DATA, LIMIT, load, message

NOW = 1_772_590_507.25
KEYS = StateKeys("q", (b"a key of some length",))
COUNTS = ("x-delivery-count", "x-acquired-count")

# Values that an AMQP table can hold; texts are UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.datetimes(timezones=st.just(UTC)),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
    TEXTS,
)
NAMES = st.one_of(TEXTS, st.sampled_from(["$bytes", "$time", "$text", "$table", "$", "$float"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(NAMES.filter(lambda key: not key.startswith(COUNTS)), VALUES, max_size=4)
PROPERTIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(TEXT_PROPERTIES, TEXTS) | {name: st.integers(0, 2) for name in NUMBERS}
)
MESSAGES = st.builds(
    Message, st.binary(max_size=200), st.none() | TEXTS, HEADERS, PROPERTIES, st.just(()) | st.tuples(TEXTS)
)
TIMES = st.floats(min_value=1, max_value=NOW)
STATES = st.builds(
    State,
    first_seen=TIMES,
    reason=st.sampled_from(get_args(WaitReason)),
    attempts=st.integers(0, 1_000_000),
    waits=st.integers(0, 1_000_000),
    crashes=st.integers(0, 1_000_000),
    backup_id=st.none() | st.from_regex(r"[0-9A-Za-z_-]{1,64}", fullmatch=True),
    accepted_at=st.none() | TIMES,
    replay=st.none() | TEXTS,
    doubt_since=st.none() | TIMES,
    room_since=st.none() | TIMES,
    room_seconds=st.floats(0, 1e9),
    lookups=st.integers(0, 1_000_000),
    absent_since=st.none() | TIMES,
    absences=st.integers(0, 1_000_000),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(original=MESSAGES, state=STATES, subject=st.none() | TEXTS)
def test_a_waiting_message_keeps_original_and_state(
    original: Message, state: State, subject: str | None
) -> None:
    """``parse_message`` returns the body, content type, headers of every AMQP type, and the state."""
    waiting = Message(wrap(original, state, event_id="e", subject=subject, keys=KEYS))

    assert (original, state, True) == parse_message(waiting, now=NOW, keys=KEYS)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(original=MESSAGES, first=STATES, second=STATES)
def test_a_second_delay_does_not_wrap_twice(original: Message, first: State, second: State) -> None:
    """A message that is delayed again contains the original, not the former waiting message."""
    once = wrap(original, first, event_id="e")
    again, *_ = parse_message(Message(once), now=NOW)

    assert wrap(original, second, event_id="e") == wrap(again, second, event_id="e")


def test_a_nan_header_is_kept() -> None:
    """A header with NaN, which JSON cannot represent, is still NaN after a delay."""
    waiting = Message(wrap(Message(b"", None, {"f": float("nan")}), State(NOW), event_id="e"))

    assert "nan" == str(parse_message(waiting, now=NOW)[0].headers["f"])


def test_a_time_without_a_zone_is_utc() -> None:
    """A time without a zone is read as UTC: AMQP times are seconds since the epoch."""
    when = datetime(2026, 3, 4, 2, 15)  # noqa: DTZ001 - the test needs no zone
    waiting = Message(wrap(Message(b"", None, {"t": when}), State(NOW), event_id="e"))

    assert when.replace(tzinfo=UTC) == parse_message(waiting, now=NOW)[0].headers["t"]


def test_a_waiting_message_with_the_former_names_is_read() -> None:
    """A message that was delayed before the renaming is still read: it may wait during an upgrade."""
    lines = (DATA / "events" / "waiting-before-renaming.jsonl").read_bytes().splitlines()
    found = [parse_message(Message(line), now=NOW)[1] for line in lines]

    assert ["retry", "lookup", "track", "publish", "check", "pause"] == [state.reason for state in found]
    assert {(2, 3, 1, 2)} == {(state.attempts, state.waits, state.crashes, state.lookups) for state in found}


def test_another_message_is_its_own_original() -> None:
    """A message that is not a waiting message is returned unchanged, first seen now."""
    plain = message(load("cloudevents"))

    assert (plain, State(first_seen=NOW), True) == parse_message(plain, now=NOW)


def test_a_text_with_the_waiting_type_is_not_a_waiting_message() -> None:
    """Only the attribute ``type`` counts; other texts may have the same content."""
    plain = message({**load("data"), "snapshot_name": WAITING, "x": [WAITING]})

    assert plain == parse_message(plain, now=NOW)[0]


def test_an_original_of_any_size_is_unwrapped() -> None:
    """``parse_message`` returns an original that is larger than the limit of a body."""
    large = Message(b"x" * (2 * LIMIT))

    assert large == parse_message(Message(wrap(large, State(NOW), event_id="e")), now=NOW)[0]


def _envelope(**changes: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(wrap(message(load("data")), State(NOW), event_id="e"))
    return {**value, **changes}


@pytest.mark.parametrize(
    "value",
    [
        _envelope(data=None),
        _envelope(data={"body": "%%%"}),
        _envelope(data={"body": 7}),
        _envelope(data={"body": "e30=", "headers": []}),
        _envelope(data={"body": "e30=", "headers": {"a": {"$bytes": "%"}}}),
        _envelope(data={"body": "e30=", "headers": {"a": {"$time": "soon"}}}),
        _envelope(data={"body": "e30=", "headers": {"a": {"$decimal": "1E999999999999"}}}),
        _envelope(data={"body": "e30=", "headers": {"a": {"$unknown": 1}}}),
        _envelope(padding=[0] * 500_000),
    ],
)
def test_a_waiting_message_without_an_original_is_returned_unchanged_and_refused(
    value: dict[str, Any],
) -> None:
    """``parse_message`` returns the damaged message unchanged, and ``decode`` refuses it."""
    damaged = message(value)

    original, *_ = parse_message(damaged, now=NOW)

    assert damaged == original
    with pytest.raises(EventError, match="bad_waiting"):
        decode(original, max_bytes=4 * LIMIT)


@pytest.mark.parametrize(
    "attributes",
    [
        {"firstseen": -1},
        {"firstseen": 1e300},
        {"firstseen": 1.8e12},
        {"firstseen": "yesterday"},
        {"acceptedat": 1e300},
        {"doubtsince": 1.8e12},
        {"waits": 10**12},
        {"attempts": -1},
        {"waitreason": "boredom"},
        {"backupid": "../../x"},
        {"backupid": ""},
        {"backupid": "x" * 65},
        {"backupid": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("keys", [None, KEYS], ids=["without keys", "with keys"])
def test_a_state_that_makes_no_sense_is_dropped_and_the_original_is_kept(
    attributes: dict[str, Any], keys: StateKeys | None
) -> None:
    """An invalid state is dropped and the event is kept, since a newer release may have written the state."""
    signed = Message(KEYS.sign(json.dumps(_envelope(**attributes)).encode()))

    assert (message(load("data")), State(NOW), False) == parse_message(signed, now=NOW, keys=keys)


def test_no_time_of_a_waiting_message_is_later_than_now() -> None:
    """Times in the future become now: clocks differ, and a producer may have forged the state."""
    late = NOW + 3600
    state = State(late, accepted_at=late, doubt_since=late)
    waiting = Message(wrap(message(load("data")), state, event_id="e"))

    assert State(NOW, accepted_at=NOW, doubt_since=NOW) == parse_message(waiting, now=NOW)[1]


@pytest.mark.parametrize(
    "data",
    [
        {"content_type": "x" * 256},
        {"properties": {"expiration": 7, "priority": 256, "type": "x" * 256, "user_id": "é" * 128, "x": "y"}},
    ],
)
def test_what_amqp_cannot_carry_is_left_out_of_the_original(data: dict[str, Any]) -> None:
    """Invalid properties are dropped, so that the original can be published again."""
    body = {"body": "e30=", **data}

    assert Message(b"{}") == parse_message(message(_envelope(data=body)), now=NOW)[0]


def test_a_waiting_message_inside_another_is_refused() -> None:
    """A nested waiting message, which we never publish, is refused."""
    inner = Message(wrap(message(load("data")), State(NOW), event_id="e"))
    original, *_ = parse_message(Message(wrap(inner, State(NOW), event_id="e")), now=NOW)

    with pytest.raises(EventError, match="bad_waiting"):
        decode(original, max_bytes=LIMIT)


def test_a_decimal_header_is_kept() -> None:
    """A decimal, which AMQP tables have and JSON has not, is the same after a delay."""
    waiting = Message(wrap(Message(b"", None, {"d": Decimal("-1.50")}), State(NOW), event_id="e"))

    assert Decimal("-1.50") == parse_message(waiting, now=NOW)[0].headers["d"]
