"""Unit tests of ``inert`` and ``restored``: headers and properties that a broker acts on become data."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.message import Message
from events.properties import NUMBERS, TEXTS
from events.republish import ORIGINAL_HEADERS, ORIGINAL_PROPERTIES, inert, put_back, restored

ACTING_HEADERS = [
    "CC",
    "BCC",
    "x-delay",
    "x-deduplication-header",
    "x-cache-ttl",
    "x-received-from",
    "x-death",
    "x-first-death-queue",
    "x-last-death-reason",
]
ACTING_PROPERTIES: dict[str, Any] = {
    "expiration": "60000",
    "priority": 9,
    "user_id": "producer",
    "reply_to": "amq.rabbitmq.reply-to",
    "delivery_mode": 1,
}
KEYS = st.sampled_from([*ACTING_HEADERS, "own", "x-own", "cc", "DL-own"])
MESSAGES = st.builds(
    Message,
    st.binary(max_size=20),
    st.none() | st.just("text/plain"),
    st.dictionaries(KEYS, st.integers() | st.text() | st.lists(st.text())),
    st.fixed_dictionaries(
        {},
        optional={name: st.text(max_size=9) for name in TEXTS}
        | {name: st.integers(0, 2) for name in NUMBERS},
    ),
    st.just(()),
)


@pytest.mark.parametrize("name", ACTING_HEADERS)
def test_a_header_that_a_broker_acts_on_is_moved_into_a_table(name: str) -> None:
    """``inert`` moves the header into a table that has no meaning for the broker."""
    assert {ORIGINAL_HEADERS: {name: ["q"]}, "own": 1} == inert(
        Message(b"", None, {name: ["q"], "own": 1})
    ).headers


@pytest.mark.parametrize("name", ACTING_PROPERTIES)
def test_a_property_that_a_broker_acts_on_is_moved_into_a_table(name: str) -> None:
    """``inert`` moves the property into a header table."""
    found = inert(Message(b"", None, {}, {name: ACTING_PROPERTIES[name]}))
    assert {} == found.properties
    assert {ORIGINAL_PROPERTIES: {name: ACTING_PROPERTIES[name]}} == found.headers


@pytest.mark.parametrize("name", sorted({*TEXTS, *NUMBERS} - {*ACTING_PROPERTIES}))
def test_a_property_that_only_describes_stays(name: str) -> None:
    """``inert`` keeps the property in its place for consumers of dead letters."""
    value = 7 if name in NUMBERS else "text"
    assert {name: value} == inert(Message(b"", None, {}, {name: value})).properties


@given(MESSAGES)
def test_restored_reverses_inert(message: Message) -> None:
    """``restored`` returns all headers and properties of the original message."""
    assert message == restored(inert(message))


@given(MESSAGES)
def test_an_inert_message_has_nothing_that_a_broker_acts_on(message: Message) -> None:
    """``inert`` leaves no header or property that a broker acts on, in any combination."""
    found = inert(message)
    assert set() == {key for key in found.headers if re.match(r"b?cc$|x-(?!own)", key, re.IGNORECASE)}
    assert set() == found.properties.keys() & ACTING_PROPERTIES.keys()


@given(
    st.none() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers() | st.text())
)
def test_tables_that_another_program_wrote_do_not_raise(value: Any) -> None:
    """``restored`` accepts any value in the tables, since an operator may have written the dead letter."""
    found = restored(Message(b"", None, {ORIGINAL_HEADERS: value, ORIGINAL_PROPERTIES: value}))
    assert found.properties.keys() <= {*TEXTS, *NUMBERS}


@given(MESSAGES)
def test_what_is_put_back_keeps_why_it_died_and_routes_no_copy(message: Message) -> None:
    """``put_back`` changes no dead letter of ours; of another one, all that a broker acts on becomes data."""
    ours = inert(message)
    died = ours._replace(
        headers={**ours.headers, "dl-category": "quota", "x-death": [{"reason": "rejected"}]}
    )
    foreign = put_back(message)

    assert died == put_back(died)
    assert not {name.lower() for name in foreign.headers} & {name.lower() for name in ACTING_HEADERS[:6]}
    assert not set(foreign.properties) & set(ACTING_PROPERTIES)
