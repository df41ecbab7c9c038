"""Everybody's trouble: how intake pauses, probes and comes back."""

import pytest

from handler.backup.breaker import DOUBTS_IN_A_ROW, FIRST_PAUSE, LONGEST_PAUSE, Intake, Trouble
from handler.backup.hooks import IntakeChange
from tests.twins.clock import Clock

FULL = 8
DOUBT_PAUSE = 5.0
OUTAGE = Trouble("everybody", "503 down")
DOUBT = Trouble("doubt", "no answer")


@pytest.fixture
def clock() -> Clock:
    """Time in the test's hands."""
    return Clock()


@pytest.fixture
def intake(clock: Clock) -> Intake:
    """An intake of eight."""
    return Intake(FULL, clock, doubt_pause=DOUBT_PAUSE)


def test_a_quiet_intake_is_open(intake: Intake) -> None:
    """Nothing has happened: all may come in."""
    assert (FULL, "running", 0.0, None) == (intake.limit, intake.state, intake.pause_left(), intake.reason)


def test_an_outage_stops_it(intake: Intake) -> None:
    """Nothing comes in, and the reason is told."""
    intake.went_wrong(OUTAGE)
    assert (0, "paused", FIRST_PAUSE, "503 down") == (
        intake.limit,
        intake.state,
        intake.pause_left(),
        intake.reason,
    )


def test_one_message_probes_after_the_pause(intake: Intake, clock: Clock) -> None:
    """Not all at once."""
    intake.went_wrong(OUTAGE)
    clock.advance(FIRST_PAUSE)
    assert (1, "recovering") == (intake.limit, intake.state)


def test_pauses_double_up_to_a_minute(intake: Intake, clock: Clock) -> None:
    """A probe that fails doubles the pause: 1, 2, 4, … 60, 60."""
    pauses = []
    for _ in range(9):
        intake.went_wrong(OUTAGE)
        pauses.append(intake.pause_left())
        clock.advance(intake.pause_left())
    assert [1, 2, 4, 8, 16, 32, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE] == pauses


def test_failures_of_those_in_flight_do_not_lengthen_a_pause(intake: Intake, clock: Clock) -> None:
    """Thirty-two that fail together are one outage."""
    for _ in range(32):
        intake.went_wrong(OUTAGE)
    clock.advance(FIRST_PAUSE)
    intake.went_wrong(OUTAGE)
    assert 2 * FIRST_PAUSE == intake.pause_left()


def test_a_pause_is_as_long_as_the_api_asks(intake: Intake) -> None:
    """Retry-After of an outage counts."""
    intake.went_wrong(Trouble("everybody", "503", seconds=17.0))
    assert 17.0 == intake.pause_left()


def test_it_doubles_with_each_round_that_goes_well(intake: Intake, clock: Clock) -> None:
    """One, two, four, eight; each when as many have gone well."""
    intake.went_wrong(OUTAGE)
    clock.advance(FIRST_PAUSE)
    limits = []
    for _ in range(1 + 2 + 4):
        intake.went_well()
        limits.append(intake.limit)
    assert [2, 2, 4, 4, 4, 4, 8] == limits
    assert ("running", None) == (intake.state, intake.reason)


def test_a_full_recovery_begins_the_next_pauses_anew(intake: Intake, clock: Clock) -> None:
    """The second outage is a new one."""
    intake.went_wrong(OUTAGE)
    clock.advance(1)
    intake.went_wrong(OUTAGE)
    clock.advance(2)
    intake.went_well()
    intake.went_wrong(OUTAGE)
    assert FIRST_PAUSE == intake.pause_left()


def test_an_answer_to_a_straggler_does_not_end_a_pause(intake: Intake) -> None:
    """One that was in flight before says nothing about now."""
    intake.went_wrong(OUTAGE)
    intake.went_well()
    assert 0 == intake.limit


def test_a_throttled_project_is_parked_alone(intake: Intake, clock: Clock) -> None:
    """Others go on; it goes on when its time has come."""
    intake.went_wrong(Trouble("project", "429", "slow", 30.0))
    assert (30.0, 0.0, FULL) == (intake.park("slow"), intake.park("other"), intake.limit)
    clock.advance(30)
    assert 0.0 == intake.park("slow")


def test_where_only_parked_messages_come_in_intake_pauses(intake: Intake) -> None:
    """Moving them round would only keep the broker busy."""
    intake.went_wrong(Trouble("project", "429", "slow", 30.0))
    for _ in range(FULL):
        intake.park("slow")
    assert FULL == intake.limit
    intake.park("slow")
    assert (0, 30.0) == (intake.limit, intake.pause_left())


def test_another_project_between_ends_the_row(intake: Intake) -> None:
    """As long as others come in there is something to do."""
    intake.went_wrong(Trouble("project", "429", "slow", 30.0))
    for _ in range(3 * FULL):
        intake.park("slow")
        intake.park("other")
    assert FULL == intake.limit


def test_doubts_in_a_row_pause_intake(intake: Intake) -> None:
    """As many calls without an answer are an outage that nobody has called one."""
    for _ in range(DOUBTS_IN_A_ROW - 1):
        intake.went_wrong(DOUBT)
    assert FULL == intake.limit
    intake.went_wrong(DOUBT)
    assert DOUBT_PAUSE == intake.pause_left()


def test_an_answer_between_ends_a_row_of_doubts(intake: Intake) -> None:
    """An API that answers others is not down."""
    for _ in range(DOUBTS_IN_A_ROW - 1):
        intake.went_wrong(DOUBT)
    intake.went_well()
    intake.went_wrong(DOUBT)
    assert FULL == intake.limit


def test_it_remembers_when_the_api_last_answered(intake: Intake, clock: Clock) -> None:
    """Within the time asked for, and not before the first answer."""
    assert not intake.answered_within(60)
    intake.went_well()
    clock.advance(60)
    assert intake.answered_within(60)
    clock.advance(1)
    assert not intake.answered_within(60)


def test_a_clock_set_back_makes_no_negative_pause(intake: Intake, clock: Clock) -> None:
    """Pauses are never negative, whatever the clock does."""
    intake.went_wrong(OUTAGE)
    clock.advance(3600)
    assert 0.0 == intake.pause_left()


def test_who_listens_hears_of_each_change(clock: Clock) -> None:
    """Paused, the first good answer, and all again; each once, with the reason and how long it was."""
    told: list[IntakeChange] = []
    intake = Intake(4, clock, doubt_pause=DOUBT_PAUSE, notify=told.append)
    intake.went_wrong(OUTAGE)
    intake.went_wrong(OUTAGE)
    clock.advance(FIRST_PAUSE)
    for _ in range(8):
        intake.went_well()
    assert [
        IntakeChange("paused", "unavailable", "503 down", FIRST_PAUSE),
        IntakeChange("recovering", "unavailable", "", FIRST_PAUSE),
        IntakeChange("running", "unavailable", "", FIRST_PAUSE),
    ] == told


def test_an_intake_of_one_recovers_too(clock: Clock) -> None:
    """Its next trouble begins with a short pause again."""
    intake = Intake(1, clock, doubt_pause=DOUBT_PAUSE)
    for _ in range(3):
        intake.went_wrong(OUTAGE)
        clock.advance(intake.pause_left())
    intake.went_well()
    intake.went_wrong(OUTAGE)
    assert FIRST_PAUSE == intake.pause_left()
