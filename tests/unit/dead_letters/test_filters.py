"""Which dead letters the filters take."""

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
def test_a_filter_takes_what_it_names(filters: Filters) -> None:
    """Several values are any of them, several filters all of them."""
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
def test_a_filter_leaves_what_it_does_not_name(filters: Filters) -> None:
    """One filter that does not fit is enough."""
    assert not filters.matches(DEAD_LETTER)


def test_what_is_passed_over_is_read_no_further_than_the_filter_asks() -> None:
    """Of 100,000 most are: neither body nor identity are looked into."""
    dead_letter = DeadLetter(ours(category="quota"))

    assert not Filters(ids=frozenset({"some"}), categories=frozenset({"denied"})).matches(dead_letter)
    assert {"delivered", "death"} == set(vars(dead_letter))


def test_without_a_time_of_death_none_is_in_a_span_of_time() -> None:
    """Nobody should send back what only may have died in that night."""
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
def test_a_moment_is_a_time_or_an_age(text: str, expected: datetime) -> None:
    """A time without a zone is UTC."""
    assert expected == moment(text, now=DIED)


@pytest.mark.parametrize("text", ["", "yesterday", "3", "3w", "2026-13-01"])
def test_a_bad_moment_says_what_a_good_one_is(text: str) -> None:
    """The error shows both forms."""
    with pytest.raises(ValueError, match="90m"):
        moment(text, now=DIED)


def test_groups_count_by_category_and_code_and_know_the_first_and_last_death() -> None:
    """The largest group comes first."""
    groups = Groups()
    for message in (ours(category="denied"), ours(), ours(dead_at="2026-11-20T05:00:00+00:00")):
        groups.add(DeadLetter(message))

    first, second = groups

    assert ("quota", 2, DIED) == (first.category, first.count, first.oldest)
    assert datetime(2026, 11, 20, 5, tzinfo=UTC) == first.newest
    assert ("denied", 1) == (second.category, second.count)
    assert 3 == groups.total
