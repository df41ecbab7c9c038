"""Waiting messages without a valid signature: they are counted and reported once a minute."""

import logging

import pytest

from events.message import Message, State, wrap
from handler.backup.received import Receiver
from tests.twins.clock import Clock
from tests.twins.events import message
from tests.twins.world import KEYS


def test_dropped_states_are_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A queue full of forged messages does not fill the log."""
    clock = Clock()
    receiver = Receiver(KEYS, clock)
    unsigned = Message(wrap(message(1), State(clock()), event_id="e"))
    signed = Message(wrap(message(1), State(clock()), event_id="e", keys=KEYS))

    with caplog.at_level(logging.WARNING):
        for each in (unsigned, unsigned, signed, message(1), unsigned):
            receiver.receive(each)
        clock.advance(61)
        receiver.receive(unsigned)

    assert [("state.dropped", 1), ("state.dropped", 3)] == [
        (getattr(record, "action", ""), getattr(record, "messages", 0)) for record in caplog.records
    ]
