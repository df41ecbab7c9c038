"""Holds: calls of a key are not sent for a time, then probed one at a time."""

import pytest

from handler.backup.holds import FIRST_PAUSE, MOST, PROBE_SECONDS, Holds
from tests.twins.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test advances."""
    return Clock()


@pytest.fixture
def holds(clock: Clock) -> Holds:
    """Return no holds."""
    return Holds(clock)


def test_a_call_in_flight_does_not_lengthen_a_hold(holds: Holds) -> None:
    """Only the first failure is new; calls that were sent before it fail too, and change nothing."""
    assert [True, False, False] == [holds.begin("p", 0.0) for _ in range(3)]
    assert FIRST_PAUSE == holds.left("p")


def test_a_call_in_flight_may_bring_a_longer_time(holds: Holds) -> None:
    """The API asks for more time than at first."""
    holds.begin("p", 5.0)
    holds.begin("p", 30.0)
    assert 30.0 == holds.left("p")


def test_others_wait_while_one_probes(holds: Holds, clock: Clock) -> None:
    """A probe whose result never comes is followed by another after a while."""
    holds.begin("p", 0.0)
    clock.advance(FIRST_PAUSE)
    assert 0.0 == holds.left("p")
    holds.probe("p")
    assert PROBE_SECONDS == holds.left("p")
    clock.advance(PROBE_SECONDS)
    assert 0.0 == holds.left("p")


def test_a_call_in_flight_does_not_end_a_hold(holds: Holds, clock: Clock) -> None:
    """It was sent before the calls began to fail; a probe was not."""
    holds.begin("p", 0.0)
    holds.succeeded("p")
    assert "p" in holds
    clock.advance(FIRST_PAUSE)
    holds.probe("p")
    holds.succeeded("p")
    assert "p" not in holds


def test_memory_is_bounded(holds: Holds, clock: Clock) -> None:
    """Producers can make up projects; the hold that ends first is dropped."""
    for number in range(MOST + 3):
        holds.begin(number, 10.0)
        clock.advance(0.001)
    assert (MOST, False, True) == (len(holds), 2 in holds, 3 in holds)
