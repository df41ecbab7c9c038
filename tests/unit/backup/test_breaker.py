"""The circuit breaker: how it opens, probes and closes again."""

import pytest

from handler.backup.breaker import DOUBTS_IN_A_ROW, FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker, ScopedFailure
from handler.backup.hooks import BreakerChange
from tests.twins.clock import Clock

FULL = 8
DOUBT_PAUSE = 5.0
OUTAGE = ScopedFailure("service", "503 down")
DOUBT = ScopedFailure("doubt", "no answer")


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test advances."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """Return a circuit breaker for eight messages in flight."""
    return CircuitBreaker(FULL, clock, doubt_pause=DOUBT_PAUSE)


def test_a_circuit_breaker_is_closed_at_first(breaker: CircuitBreaker) -> None:
    """A new circuit breaker has its full limit, no pause and no reason."""
    assert (FULL, "closed", 0.0, None) == (breaker.limit, breaker.state, breaker.pause_left(), breaker.reason)


def test_an_outage_opens_the_circuit_breaker(breaker: CircuitBreaker) -> None:
    """The limit becomes zero, and the failure's text is the reason."""
    breaker.record_failure(OUTAGE)
    assert (0, "open", FIRST_PAUSE, "503 down") == (
        breaker.limit,
        breaker.state,
        breaker.pause_left(),
        breaker.reason,
    )


def test_one_message_probes_after_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """After the pause one message at a time may be in flight."""
    breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    assert (1, "half_open") == (breaker.limit, breaker.state)


def test_pauses_double_up_to_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    """A probe that fails doubles the pause: 1, 2, 4, … 60, 60."""
    pauses = []
    for _ in range(9):
        breaker.record_failure(OUTAGE)
        pauses.append(breaker.pause_left())
        clock.advance(breaker.pause_left())
    assert [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE] == pauses


def test_failures_of_those_in_flight_do_not_lengthen_a_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """Thirty-two messages that fail together count as one failure."""
    for _ in range(32):
        breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    breaker.record_failure(OUTAGE)
    assert 2 * FIRST_PAUSE == breaker.pause_left()


def test_a_pause_is_as_long_as_the_api_asks(breaker: CircuitBreaker) -> None:
    """A ``Retry-After`` that is longer than the first pause replaces it."""
    breaker.record_failure(ScopedFailure("service", "503", seconds=17.0))
    assert 17.0 == breaker.pause_left()


def test_the_limit_doubles_with_each_successful_round(breaker: CircuitBreaker, clock: Clock) -> None:
    """The limit doubles after as many successes as it allows: one, two, four."""
    breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    limits = []
    for _ in range(1 + 2 + 4):
        breaker.record_success()
        limits.append(breaker.limit)
    assert [2, 2, 4, 4, 4, 4, 8] == limits
    assert ("closed", None) == (breaker.state, breaker.reason)


def test_the_first_success_resets_the_length_of_pauses(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a success the next outage begins with the first pause again."""
    breaker.record_failure(OUTAGE)
    clock.advance(1)
    breaker.record_failure(OUTAGE)
    clock.advance(2)
    breaker.record_success()
    breaker.record_failure(OUTAGE)
    assert FIRST_PAUSE == breaker.pause_left()


def test_an_answer_to_a_straggler_does_not_end_a_pause(breaker: CircuitBreaker) -> None:
    """A message that was in flight before the pause does not prove that the service works now."""
    breaker.record_failure(OUTAGE)
    breaker.record_success()
    assert 0 == breaker.limit


def test_a_throttled_project_is_parked_alone(breaker: CircuitBreaker, clock: Clock) -> None:
    """Other projects are not parked; the throttled one is parked until its time is over."""
    breaker.record_failure(ScopedFailure("project", "429", "slow", 30.0))
    assert (30.0, 0.0, FULL) == (breaker.park("slow"), breaker.park("other"), breaker.limit)
    clock.advance(30)
    assert 0.0 == breaker.park("slow")


def test_where_only_parked_messages_come_in_the_circuit_breaker_opens(breaker: CircuitBreaker) -> None:
    """To delay such messages again and again would only keep the broker busy."""
    breaker.record_failure(ScopedFailure("project", "429", "slow", 30.0))
    for _ in range(FULL):
        breaker.park("slow")
    assert FULL == breaker.limit
    breaker.park("slow")
    assert (0, 30.0) == (breaker.limit, breaker.pause_left())


def test_another_project_between_ends_the_row(breaker: CircuitBreaker) -> None:
    """While another project's messages come in, the circuit breaker stays closed."""
    breaker.record_failure(ScopedFailure("project", "429", "slow", 30.0))
    for _ in range(3 * FULL):
        breaker.park("slow")
        breaker.park("other")
    assert FULL == breaker.limit


def test_doubts_in_a_row_open_the_circuit_breaker(breaker: CircuitBreaker) -> None:
    """``DOUBTS_IN_A_ROW`` calls without an answer count as an outage."""
    for _ in range(DOUBTS_IN_A_ROW - 1):
        breaker.record_failure(DOUBT)
    assert FULL == breaker.limit
    breaker.record_failure(DOUBT)
    assert DOUBT_PAUSE == breaker.pause_left()


def test_an_answer_between_ends_a_row_of_doubts(breaker: CircuitBreaker) -> None:
    """An API that answers other calls is not down."""
    for _ in range(DOUBTS_IN_A_ROW - 1):
        breaker.record_failure(DOUBT)
    breaker.record_success()
    breaker.record_failure(DOUBT)
    assert FULL == breaker.limit


def test_the_last_answer_of_the_api_is_remembered(breaker: CircuitBreaker, clock: Clock) -> None:
    """``answered_within`` is true for so many seconds after an answer, and false before the first."""
    assert not breaker.answered_within(60)
    breaker.record_success()
    clock.advance(60)
    assert breaker.answered_within(60)
    clock.advance(1)
    assert not breaker.answered_within(60)


def test_long_after_a_pause_no_seconds_of_it_are_left(breaker: CircuitBreaker, clock: Clock) -> None:
    """``pause_left`` is zero, never negative."""
    breaker.record_failure(OUTAGE)
    clock.advance(3600)
    assert 0.0 == breaker.pause_left()


def test_the_hook_is_called_for_each_change(clock: Clock) -> None:
    """The hook gets each state once, with the category, the reason and the seconds."""
    published: list[BreakerChange] = []
    breaker = CircuitBreaker(4, clock, doubt_pause=DOUBT_PAUSE, notify=published.append)
    breaker.record_failure(OUTAGE)
    breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    for _ in range(8):
        breaker.record_success()
    assert [
        BreakerChange("open", "unavailable", "503 down", FIRST_PAUSE),
        BreakerChange("half_open", "unavailable", "", FIRST_PAUSE),
        BreakerChange("closed", "unavailable", "", FIRST_PAUSE),
    ] == published


def test_a_circuit_breaker_for_one_closes_too(clock: Clock) -> None:
    """With a limit of one, the first success closes it, and the next outage begins with the first pause."""
    breaker = CircuitBreaker(1, clock, doubt_pause=DOUBT_PAUSE)
    for _ in range(3):
        breaker.record_failure(OUTAGE)
        clock.advance(breaker.pause_left())
    breaker.record_success()
    assert ("closed", 1) == (breaker.state, breaker.limit)
    breaker.record_failure(OUTAGE)
    assert FIRST_PAUSE == breaker.pause_left()
