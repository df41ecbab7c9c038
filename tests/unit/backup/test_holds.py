"""Holds: calls of a key are not sent for a time, then probed one at a time."""

import pytest

from handler.backup.holds import FIRST_PAUSE, FORGET_SECONDS, MOST, PROBE_SECONDS, Holds
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
    """Producers can make up projects; the holds that end first are dropped."""
    for number in range(MOST + 3):
        holds.begin(number, 10.0)
        clock.advance(0.001)
    dropped = [number for number in range(MOST + 3) if number not in holds]
    assert dropped
    assert list(range(len(dropped))) == dropped
    assert MOST - len(dropped) + 3 == len(holds) > MOST / 2


def test_a_project_that_never_comes_again_is_forgotten(holds: Holds, clock: Clock) -> None:
    """Its hold is not counted for ever: many held projects would look like an API that throttles all."""
    holds.begin("gone", 10.0)
    clock.advance(10.0 + FORGET_SECONDS / 2)
    holds.begin("here", 10.0)
    assert 2 == len(holds)
    clock.advance(FORGET_SECONDS / 2 + 1)
    assert (1, ["here"]) == (len(holds), [key for key, _why in holds.reasons()])
