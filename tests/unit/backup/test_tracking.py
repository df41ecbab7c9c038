"""How often a tracked backup is looked up, by the delays of the policy and of WAIT_LADDER."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from handler import bootstrap
from handler.backup.policy import tracking_delay
from handler.settings import Settings

SETTINGS = Settings(_env_file=None)
TOPOLOGY = bootstrap.topology(SETTINGS)
DEADLINE = SETTINGS.track_deadline
MOST_LOOKS = 40
"""The longest delay fits 24 times into a day; the shorter delays come before it."""
SIZES = st.integers(1, 10_000) | st.none()


def delay(seconds: float) -> int:
    """Return the seconds of the wait queue that this delay uses."""
    return int(TOPOLOGY.wait_queue(seconds).rpartition(".")[2].removesuffix("s"))


def lookups(size_gb: int | None) -> Iterator[int]:
    """Yield the ages at which a backup that never ends is looked up; the last is after the deadline."""
    age = 0
    while age <= DEADLINE:
        age += delay(tracking_delay(age=age, size_gb=size_gb))
        yield age


@given(size_gb=SIZES)
def test_a_backup_that_never_ends_is_looked_up_a_bounded_number_of_times(size_gb: int | None) -> None:
    """A backup of any size is looked up at most ``MOST_LOOKS`` times until TRACK_DEADLINE."""
    assert len(list(lookups(size_gb))) <= MOST_LOOKS


@given(size_gb=SIZES, end=st.floats(0, DEADLINE))
def test_the_end_is_seen_within_the_delay_that_the_policy_asked_for(size_gb: int | None, end: float) -> None:
    """The end is seen at most one delay late: that of the policy, rounded up to WAIT_LADDER."""
    seen = next(age for age in lookups(size_gb) if age >= end)

    assert seen - end <= delay(tracking_delay(age=end, size_gb=size_gb))
