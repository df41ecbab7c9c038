"""What is read from a dead letter, and the message that replays it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.decode import parse_message
from events.message import Message, State, wrap
from events.republish import inert
from handler.dead_letters.dead_letter import UNKNOWN, DeadLetter
from tests.unit.dead_letters.samples import BROKERS, DATA, DIED, PROJECT, SNAPSHOT, VOLUME, ours


def sent_back(message: Message) -> tuple[Message, State]:
    """Return the original and the state that a worker reads from the replayed message."""
    return parse_message(Message(DeadLetter(message).sent_back(now=1000.0, keys=None)), now=1000.0)[:2]


def test_a_dead_letter_of_ours_is_read_from_its_headers() -> None:
    """Reason and ids of a message that this program dead-lettered come from its ``dl-`` headers."""
    dead_letter = DeadLetter(ours())

    assert ("quota", "VolumeBackup.0061", 413, "no room", 8) == (
        dead_letter.category,
        dead_letter.code,
        dead_letter.status,
        dead_letter.reason,
        dead_letter.attempts,
    )
    assert ("event-1", PROJECT, VOLUME, SNAPSHOT) == (
        dead_letter.event_id,
        dead_letter.project_id,
        dead_letter.volume_id,
        dead_letter.snapshot_id,
    )
    assert dead_letter.dead_at == DIED


def test_a_dead_letter_of_the_broker_is_read_from_its_body() -> None:
    """A message beyond the delivery limit has that as its category, and its snapshot from the body."""
    dead_letter = DeadLetter(Message(DATA, "application/json", BROKERS))

    assert ("delivery_limit", DIED, PROJECT, SNAPSHOT) == (
        dead_letter.category,
        dead_letter.dead_at,
        dead_letter.project_id,
        dead_letter.snapshot_id,
    )


def test_a_waiting_message_that_the_broker_dead_lettered_is_replayed_as_its_original() -> None:
    """The envelope of the waiting message is removed before the replay."""
    original = Message(DATA, "application/json", {"own": 1})
    waiting = wrap(original, State(first_seen=5.0, attempts=7, crashes=3), event_id="e")
    dead = Message(waiting, "application/cloudevents+json", BROKERS)

    assert SNAPSHOT == DeadLetter(dead).snapshot_id
    assert original == sent_back(dead)[0]


def test_another_programs_message_is_of_an_unknown_category() -> None:
    """A message of another program has no code and no time."""
    dead_letter = DeadLetter(Message(b"\xff", None, {}))

    assert (UNKNOWN, None, None) == (dead_letter.category, dead_letter.code, dead_letter.dead_at)


def test_a_replay_publishes_the_original_with_a_fresh_state() -> None:
    """The replay has the original body, content type and headers; its counts start at zero."""
    original, state = sent_back(ours())

    assert Message(DATA, "application/json", {"own": "kept"}) == original
    assert State(first_seen=1000.0, replay=DeadLetter(ours()).replay_id) == state


def test_a_replay_drops_the_headers_of_the_broker() -> None:
    """``x-death`` is removed, since older brokers silently drop messages that they see in a cycle."""
    original, _ = sent_back(Message(DATA, None, {**BROKERS, "x-delivery-count": 3, "own": 1}))

    assert {"own": 1} == original.headers


def test_headers_that_make_a_broker_act_are_replayed_as_data() -> None:
    """A replay restores the event's own headers and properties under their own names."""
    arrived = Message(DATA, None, {"CC": ["q"], "own": 1}, {"expiration": "60000", "type": "t"})
    dead = inert(arrived)
    dead = dead._replace(headers={**dead.headers, "dl-category": "quota"})

    assert arrived == sent_back(dead)[0]


def test_reading_a_dead_letter_does_not_change_its_replay_id() -> None:
    """The replay id ignores delivery counts, so that two replays are one cause to the ledger."""
    redelivered = ours()._replace(headers={**ours().headers, "x-delivery-count": 9})

    assert DeadLetter(ours()).replay_id == DeadLetter(redelivered).replay_id


def test_a_message_that_was_dead_lettered_again_has_another_replay_id() -> None:
    """A new time gives a new replay id, so that the ledger allows another attempt."""
    again = ours(dead_at="2026-11-20T03:16:00+00:00")

    assert DeadLetter(ours()).replay_id != DeadLetter(again).replay_id


def test_live_tokens_in_a_dead_letter_are_blanked() -> None:
    """The token that old Cinder releases put into notifications appears in no form of a dead letter."""
    body = json.dumps({"_context_auth_token": "secret-of-a-user", "payload": {}}).encode()
    dead_letter = DeadLetter(Message(body, None, BROKERS))

    assert b"secret-of-a-user" not in dead_letter.message.body
    assert b"secret-of-a-user" not in dead_letter.original().body


@pytest.mark.parametrize("value", [None, 7, "yesterday", b"x", [], {}])
def test_an_invalid_dead_at_header_is_none(value: Any) -> None:
    """An invalid ``dl-dead-at`` of another program does not stop the list."""
    assert DeadLetter(ours(dead_at=value)).dead_at is None


@given(
    st.dictionaries(
        st.sampled_from(["dl-category", "dl-dead-at", "dl-attempts", "dl-event-id", "x-death", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.datetimes(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["reason", "queue", "time"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    ),
    st.binary(max_size=60),
)
def test_reading_a_dead_letter_never_fails(headers: dict[str, Any], body: bytes) -> None:
    """Any message in the queue can be listed, and is replayed with its body unchanged."""
    dead_letter = DeadLetter(Message(body, None, headers))

    assert json.dumps(dead_letter.facts())
    assert body == parse_message(Message(dead_letter.sent_back(now=1.0, keys=None)), now=0.0)[0].body
