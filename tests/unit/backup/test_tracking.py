"""How often a backup is looked at in its life, by the delays of the policy and the rungs of the ladder."""

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
"""A day of the longest rung is 24; the others are on the way there."""
SIZES = st.integers(1, 10_000) | st.none()


def delay(seconds: float) -> int:
    """The seconds that a wait really takes."""
    return int(TOPOLOGY.wait_queue(seconds).rpartition(".")[2].removesuffix("s"))


def lookups(size_gb: int | None) -> Iterator[int]:
    """The ages at which a backup is looked at that never ends; the last one is after the deadline."""
    age = 0
    while age <= DEADLINE:
        age += delay(tracking_delay(age=age, size_gb=size_gb))
        yield age


@given(size_gb=SIZES)
def test_a_backup_that_never_ends_is_looked_at_a_bounded_number_of_times(size_gb: int | None) -> None:
    """Until TRACK_DEADLINE, whatever its size."""
    assert len(list(lookups(size_gb))) <= MOST_LOOKS


@given(size_gb=SIZES, end=st.floats(0, DEADLINE))
def test_the_end_is_seen_within_the_rung_that_the_policy_asked_for(size_gb: int | None, end: float) -> None:
    """A tenth of what is expected or a quarter of the time it took, rounded up to a rung of the ladder."""
    seen = next(age for age in lookups(size_gb) if age >= end)

    assert seen - end <= delay(tracking_delay(age=end, size_gb=size_gb))
