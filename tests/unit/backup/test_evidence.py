"""Evidence: whom a failure concerns, by the calls that are answered meanwhile."""

import pytest

from handler.backup.evidence import REMEMBERED, Evidence, Place
from tests.twins.clock import Clock

P1 = Place("create", "p1", "s1")
P1_OTHER = Place("create", "p1", "s2")
P2 = Place("create", "p2", "s3")
LIST = Place("list", "p1", "s1")


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test advances."""
    return Clock()


@pytest.fixture
def evidence(clock: Clock) -> Evidence:
    """Return evidence of nothing."""
    return Evidence(clock)


def test_a_first_failure_concerns_the_service(evidence: Evidence, clock: Clock) -> None:
    """Calls that were answered before it prove nothing: the outage may have just begun."""
    evidence.answered(P1)
    evidence.answered(LIST)
    clock.advance(1)
    assert "service" == evidence.failed(P1)


@pytest.mark.parametrize(
    ("answered", "scope"), [(P1_OTHER, "message"), (P2, "project"), (LIST, "route")], ids=str
)
def test_what_is_answered_meanwhile_tells_whom_a_failure_concerns(
    evidence: Evidence, clock: Clock, answered: Place, scope: str
) -> None:
    """A message, project or route fails alone if the calls beside it are answered between two failures."""
    evidence.failed(P1)
    clock.advance(1)
    evidence.answered(answered)
    clock.advance(1)
    assert scope == evidence.failed(P1)


def test_another_message_of_a_project_that_fails_alone(evidence: Evidence, clock: Clock) -> None:
    """The first failure of a further message concerns the project too: it fails since before."""
    evidence.failed(P1)
    clock.advance(1)
    evidence.answered(P2)
    clock.advance(1)
    assert "project" == evidence.failed(P1_OTHER)


def test_after_an_answer_a_failure_begins_anew(evidence: Evidence, clock: Clock) -> None:
    """What other projects were answered before counts no more once the project works again."""
    evidence.failed(P1)
    clock.advance(1)
    evidence.answered(P2)
    clock.advance(1)
    evidence.answered(P1)
    clock.advance(1)
    assert "service" == evidence.failed(P1_OTHER)


def test_backups_are_remembered(evidence: Evidence, clock: Clock) -> None:
    """A refusal is an answer, but no backup."""
    evidence.answered(P1)
    assert not evidence.made_within(60)
    evidence.answered(P1, made=True)
    clock.advance(60)
    assert evidence.made_within(60)
    clock.advance(1)
    assert not evidence.made_within(60)


def test_only_answers_of_others_count_for_others(evidence: Evidence, clock: Clock) -> None:
    """A project does not prove by its own answers that others are fine."""
    evidence.answered(P1)
    assert not evidence.others_answered_within("p1", 60)
    evidence.answered(P2)
    clock.advance(60)
    assert evidence.others_answered_within("p1", 60)
    clock.advance(1)
    assert not evidence.others_answered_within("p1", 60)


def test_memory_is_bounded(evidence: Evidence) -> None:
    """Producers can make up projects and snapshots."""
    for number in range(3 * REMEMBERED):
        evidence.failed(Place("create", str(number), str(number)))
        evidence.answered(Place("list", str(number)))
    stores = (evidence._answered, evidence._failing, evidence._tried)
    assert {REMEMBERED} == {len(store) for store in stores}
