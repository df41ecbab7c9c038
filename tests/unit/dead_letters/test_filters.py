"""Which dead letters the filters match."""

from datetime import UTC, datetime, timedelta

import pytest

from events.message import Message
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.filters import Filters, moment
from handler.dead_letters.groups import Groups
from tests.unit.dead_letters.samples import DIED, PROJECT, SNAPSHOT, ours

DEAD_LETTER = DeadLetter(ours())
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(ids=frozenset({DEAD_LETTER.id})),
        Filters(categories=frozenset({"denied", "quota"})),
        Filters(codes=frozenset({"VolumeBackup.0061"})),
        Filters(projects=frozenset({PROJECT})),
        Filters(snapshots=frozenset({SNAPSHOT})),
        Filters(since=DIED),
        Filters(until=DIED + SECOND),
        Filters(categories=frozenset({"quota"}), since=DIED - SECOND, until=DIED + SECOND),
    ],
)
def test_a_filter_matches_the_values_that_it_names(filters: Filters) -> None:
    """A filter matches any of its values; all filters must match."""
    assert filters.matches(DEAD_LETTER)


@pytest.mark.parametrize(
    "filters",
    [
        Filters(ids=frozenset({"another"})),
        Filters(categories=frozenset({"denied"})),
        Filters(codes=frozenset({"403"})),
        Filters(projects=frozenset({"other"})),
        Filters(snapshots=frozenset({"other"})),
        Filters(since=DIED + SECOND),
        Filters(until=DIED),
        Filters(categories=frozenset({"quota"}), projects=frozenset({"other"})),
    ],
)
def test_a_filter_does_not_match_other_values(filters: Filters) -> None:
    """One filter that does not match excludes the dead letter."""
    assert not filters.matches(DEAD_LETTER)


def test_a_dead_letter_that_does_not_match_is_read_no_further_than_needed() -> None:
    """A category that does not match decides before the body and the ids are read."""
    dead_letter = DeadLetter(ours(category="quota"))

    assert not Filters(ids=frozenset({"some"}), categories=frozenset({"denied"})).matches(dead_letter)
    assert {"delivered", "death"} == set(vars(dead_letter))


def test_a_dead_letter_without_a_time_matches_no_span_of_time() -> None:
    """A dead letter of unknown time is never selected by ``--since``."""
    undated = DeadLetter(Message(b"{}"))

    assert Filters().matches(undated)
    assert not Filters(since=datetime(1970, 1, 1, tzinfo=UTC)).matches(undated)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T03:15", DIED),
        ("2026-11-20T04:15+01:00", DIED),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("90m", DIED - timedelta(minutes=90)),
        ("3d", DIED - timedelta(days=3)),
    ],
)
def test_a_time_option_is_a_time_or_an_age(text: str, expected: datetime) -> None:
    """A time without a zone is UTC; an age counts back from now."""
    assert expected == moment(text, now=DIED)


@pytest.mark.parametrize("text", ["", "yesterday", "3", "3w", "2026-13-01"])
def test_the_error_for_a_bad_time_shows_valid_forms(text: str) -> None:
    """The error for a bad time shows an example of a time and of an age."""
    with pytest.raises(ValueError, match="90m"):
        moment(text, now=DIED)


def test_groups_count_by_category_and_code_with_oldest_and_newest_time() -> None:
    """Groups have count, oldest and newest time; the largest group comes first."""
    groups = Groups()
    for message in (ours(category="denied"), ours(), ours(dead_at="2026-11-20T05:00:00+00:00")):
        groups.add(DeadLetter(message))

    first, second = groups

    assert ("quota", 2, DIED) == (first.category, first.count, first.oldest)
    assert datetime(2026, 11, 20, 5, tzinfo=UTC) == first.newest
    assert ("denied", 1) == (second.category, second.count)
    assert 3 == groups.total
