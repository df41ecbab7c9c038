"""What is read of a dead letter, and what is sent back of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.decode import open_message
from events.message import Message, State, wrap
from events.republish import inert
from handler.dead_letters.dead_letter import UNKNOWN, DeadLetter
from tests.unit.dead_letters.samples import BROKERS, DATA, DIED, PROJECT, SNAPSHOT, VOLUME, ours


def sent_back(message: Message) -> tuple[Message, State]:
    """The original and the state that a worker finds in what goes back."""
    return open_message(Message(DeadLetter(message).sent_back(now=1000.0)), now=1000.0)


def test_our_headers_say_why_and_whom() -> None:
    """What we buried is read from its ``dl-`` headers."""
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


def test_the_brokers_own_dead_letter_is_read_from_its_body() -> None:
    """One that the broker took for its delivery limit says so, and names its snapshot."""
    dead_letter = DeadLetter(Message(DATA, "application/json", BROKERS))

    assert ("delivery_limit", DIED, PROJECT, SNAPSHOT) == (
        dead_letter.category,
        dead_letter.dead_at,
        dead_letter.project_id,
        dead_letter.snapshot_id,
    )


def test_a_waiting_message_that_the_broker_took_is_read_and_sent_as_its_original() -> None:
    """The envelope that it waited in is no part of it."""
    original = Message(DATA, "application/json", {"own": 1})
    waiting = wrap(original, State(first_seen=5.0, attempts=7, crashes=3), event_id="e")
    dead = Message(waiting, "application/cloudevents+json", BROKERS)

    assert SNAPSHOT == DeadLetter(dead).snapshot_id
    assert original == sent_back(dead)[0]


def test_another_programs_message_is_of_an_unknown_category() -> None:
    """Nothing is known of it but that it is here."""
    dead_letter = DeadLetter(Message(b"\xff", None, {}))

    assert (UNKNOWN, None, None) == (dead_letter.category, dead_letter.code, dead_letter.dead_at)


def test_what_goes_back_is_the_original_with_a_fresh_state() -> None:
    """Body, content type and own headers are those of the arrival; the counts begin anew."""
    original, state = sent_back(ours())

    assert Message(DATA, "application/json", {"own": "kept"}) == original
    assert State(first_seen=1000.0, replay=DeadLetter(ours()).replay_id) == state


def test_the_brokers_marks_do_not_go_back() -> None:
    """With ``x-death`` left in, older brokers silently drop what goes round twice."""
    original, _ = sent_back(Message(DATA, None, {**BROKERS, "x-delivery-count": 3, "own": 1}))

    assert {"own": 1} == original.headers


def test_what_made_a_broker_act_goes_back_as_data() -> None:
    """A replay gives the event its own headers and properties again, under their own names."""
    arrived = Message(DATA, None, {"CC": ["q"], "own": 1}, {"expiration": "60000", "type": "t"})
    dead = inert(arrived)
    dead = dead._replace(headers={**dead.headers, "dl-category": "quota"})

    assert arrived == sent_back(dead)[0]


def test_the_same_death_is_the_same_replay_however_often_it_was_looked_at() -> None:
    """So that sending it twice is one cause to the ledger."""
    looked_at = ours()._replace(headers={**ours().headers, "x-delivery-count": 9})

    assert DeadLetter(ours()).replay_id == DeadLetter(looked_at).replay_id


def test_a_message_that_died_again_is_another_replay() -> None:
    """So that the ledger lets it try once more."""
    again = ours(dead_at="2026-11-20T03:16:00+00:00")

    assert DeadLetter(ours()).replay_id != DeadLetter(again).replay_id


def test_live_tokens_are_blank_wherever_the_letter_shows() -> None:
    """Old Cinder releases put the user's token into notifications."""
    body = json.dumps({"_context_auth_token": "secret-of-a-user", "payload": {}}).encode()
    dead_letter = DeadLetter(Message(body, None, BROKERS))

    assert b"secret-of-a-user" not in dead_letter.message.body
    assert b"secret-of-a-user" not in dead_letter.original().body


@pytest.mark.parametrize("value", [None, 7, "yesterday", b"x", [], {}])
def test_a_bad_time_of_death_is_none(value: Any) -> None:
    """What others wrote into our headers does not stop the list."""
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
def test_reading_never_fails(headers: dict[str, Any], body: bytes) -> None:
    """Whatever lies in the queue can be listed, and sent back as it came."""
    dead_letter = DeadLetter(Message(body, None, headers))

    assert json.dumps(dead_letter.facts())
    assert body == open_message(Message(dead_letter.sent_back(now=1.0)), now=0.0)[0].body
