"""The circuit breaker: how it opens, probes and closes again."""

import pytest

from handler.backup.breaker import (
    DOUBTS_IN_A_ROW,
    IDLE_SECONDS,
    OTHERS_FIRST_SECONDS,
    CircuitBreaker,
    ScopedFailure,
)
from handler.backup.evidence import Place
from handler.backup.holds import FIRST_PAUSE, LONGEST_PAUSE, PROBE_SECONDS
from handler.backup.hooks import BreakerChange
from tests.twins.clock import Clock

FULL = 8
DOUBT_PAUSE = 5.0
PLACE = Place("create", "p", "s")
OUTAGE = ScopedFailure("service", "503 down", PLACE)
DOUBT = ScopedFailure("service", "no answer", PLACE, doubt=True)
SLOW = ScopedFailure("project", "429", Place("create", "slow"), 30.0)
CREATES = ScopedFailure("route", "500", PLACE)


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
        breaker.record_success(PLACE)
        limits.append(breaker.limit)
    assert [2, 2, 4, 4, 4, 4, 8] == limits
    assert ("closed", None) == (breaker.state, breaker.reason)


def test_the_first_success_resets_the_length_of_pauses(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a success the next outage begins with the first pause again."""
    breaker.record_failure(OUTAGE)
    clock.advance(1)
    breaker.record_failure(OUTAGE)
    clock.advance(2)
    breaker.record_success(PLACE)
    breaker.record_failure(OUTAGE)
    assert FIRST_PAUSE == breaker.pause_left()


def test_an_answer_to_a_straggler_does_not_end_a_pause(breaker: CircuitBreaker) -> None:
    """A message that was in flight before the pause does not prove that the service works now."""
    breaker.record_failure(OUTAGE)
    breaker.record_success(PLACE)
    assert 0 == breaker.limit


def test_a_throttled_project_is_parked_alone(breaker: CircuitBreaker, clock: Clock) -> None:
    """Other projects are not parked; the throttled one is parked until its time is over."""
    breaker.record_failure(SLOW)
    assert (30.0, 0.0, FULL) == (breaker.park("slow"), breaker.park("other"), breaker.limit)
    clock.advance(30)
    assert 0.0 == breaker.park("slow")


def test_where_only_parked_messages_come_in_consuming_pauses(breaker: CircuitBreaker) -> None:
    """To delay such messages again and again would only keep the broker busy; others may be behind them."""
    breaker.record_failure(SLOW)
    for _ in range(FULL):
        breaker.park("slow")
    assert FULL == breaker.limit
    breaker.park("slow")
    assert (0, IDLE_SECONDS, 0.0) == (breaker.limit, breaker.pause_left(), breaker.outage_left())


def test_another_project_between_ends_the_row(breaker: CircuitBreaker) -> None:
    """While another project's messages come in, the circuit breaker stays closed."""
    breaker.record_failure(SLOW)
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


def test_a_backup_between_ends_a_row_of_doubts(breaker: CircuitBreaker) -> None:
    """An API that makes other backups is not down."""
    for _ in range(DOUBTS_IN_A_ROW - 1):
        breaker.record_failure(DOUBT)
    breaker.record_success(PLACE, made=True)
    breaker.record_failure(DOUBT)
    assert FULL == breaker.limit


def test_an_answer_between_does_not_end_a_row_of_doubts(breaker: CircuitBreaker) -> None:
    """Lookups may be answered, and requests refused, while no backup can be made."""
    for _ in range(DOUBTS_IN_A_ROW):
        breaker.record_failure(DOUBT)
        breaker.record_success(Place("list", "p"))
        breaker.record_success(PLACE)
    assert DOUBT_PAUSE == breaker.pause_left()


def test_a_probe_in_doubt_doubles_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """After a row of doubts each further one opens the circuit breaker again, with longer pauses."""
    pauses = []
    for _ in range(DOUBTS_IN_A_ROW + 4):
        breaker.record_failure(DOUBT)
        pauses.append(breaker.pause_left())
        clock.advance(breaker.pause_left())
    assert [DOUBT_PAUSE, DOUBT_PAUSE, DOUBT_PAUSE, 8, 16] == pauses[-5:]


def test_after_a_row_of_doubts_lookups_go_first(breaker: CircuitBreaker, clock: Clock) -> None:
    """Creates of the project in doubt wait for its lookups; creates of other projects do not."""
    for _ in range(DOUBTS_IN_A_ROW):
        breaker.record_failure(DOUBT)
    clock.advance(breaker.pause_left())
    assert 2 * DOUBT_PAUSE == breaker.admit(PLACE)
    assert 0.0 == breaker.admit(PLACE._replace(route="list"))
    assert 0.0 == breaker.admit(PLACE._replace(project_id="other"))
    breaker.record_success(PLACE._replace(route="list"), made=True)
    assert 0.0 == breaker.admit(PLACE)


def test_a_route_that_fails_alone_is_held_alone(breaker: CircuitBreaker, clock: Clock) -> None:
    """Creates are held, lookups go on; after the pause one create at a time probes."""
    breaker.record_failure(CREATES)
    assert (FIRST_PAUSE, 0.0, FULL) == (
        breaker.admit(PLACE),
        breaker.admit(Place("list", "p")),
        breaker.limit,
    )
    clock.advance(FIRST_PAUSE)
    assert [0.0, PROBE_SECONDS] == [breaker.admit(PLACE), breaker.admit(PLACE)]


def test_a_held_route_is_probed_at_growing_intervals(breaker: CircuitBreaker, clock: Clock) -> None:
    """Each probe that fails doubles the pause, up to a minute."""
    pauses = []
    for _ in range(9):
        breaker.record_failure(CREATES)
        pauses.append(breaker.hold("create"))
        clock.advance(breaker.hold("create"))
        breaker.admit(PLACE)
    assert [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE] == pauses


def test_only_a_backup_ends_the_hold_on_creates(breaker: CircuitBreaker, clock: Clock) -> None:
    """A refused request proves that the API answers, not that it makes backups."""
    breaker.record_failure(CREATES)
    clock.advance(FIRST_PAUSE)
    breaker.admit(PLACE)
    breaker.record_success(PLACE)
    assert PROBE_SECONDS == breaker.hold("create")
    breaker.record_success(PLACE, made=True)
    assert (0.0, 0) == (breaker.hold("create"), breaker.held)


def test_where_only_held_messages_come_in_consuming_pauses(breaker: CircuitBreaker) -> None:
    """More messages in a row than may be in flight need the held route."""
    breaker.record_failure(CREATES)
    for _ in range(FULL):
        breaker.admit(PLACE)
    assert FULL == breaker.limit
    breaker.admit(PLACE)
    assert (0, FIRST_PAUSE, 0.0) == (breaker.limit, breaker.pause_left(), breaker.outage_left())


def test_other_projects_probe_first_after_a_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    """Messages of the project that failed leave the probe to others for a second, which may be fine."""
    breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    assert (OTHERS_FIRST_SECONDS, 0.0) == (breaker.park("p"), breaker.park("other"))
    clock.advance(OTHERS_FIRST_SECONDS)
    assert 0.0 == breaker.park("p")


def test_after_a_success_no_project_is_put_behind_others(breaker: CircuitBreaker, clock: Clock) -> None:
    """The service works again."""
    breaker.record_failure(OUTAGE)
    clock.advance(FIRST_PAUSE)
    breaker.record_success(Place("create", "other"))
    assert 0.0 == breaker.park("p")


def test_the_hook_is_called_once_for_a_hold(clock: Clock) -> None:
    """The hook names what is held, and why."""
    published: list[BreakerChange] = []
    breaker = CircuitBreaker(4, clock, doubt_pause=DOUBT_PAUSE, notify=published.append)
    breaker.record_failure(SLOW)
    breaker.record_failure(SLOW)
    assert [BreakerChange("held", "unavailable", "project slow alone: 429", 30.0)] == published


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
        breaker.record_success(PLACE)
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
    breaker.record_success(PLACE)
    assert ("closed", 1) == (breaker.state, breaker.limit)
    breaker.record_failure(OUTAGE)
    assert FIRST_PAUSE == breaker.pause_left()


def test_pauses_for_the_ledger_stay_short() -> None:
    """A try of the ledger is cheap, and after a failover it works at once. The API's pauses grow."""
    lasted: dict[str, float] = {}
    for why in ("ledger", "unavailable"):
        clock = Clock()
        breaker = CircuitBreaker(8, clock, doubt_pause=5.0)
        for _ in range(10):
            breaker.record_failure(ScopedFailure("service", "down", why=why))
            lasted[why] = breaker.pause_left()
            clock.advance(lasted[why])
    assert {"ledger": 8.0, "unavailable": 60.0} == lasted
