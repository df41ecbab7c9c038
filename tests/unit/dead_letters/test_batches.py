"""How many dead letters are taken in one go."""

from typing import Any, cast

import pytest

from handler.broker.topology import Queue
from handler.dead_letters.reading import BATCH_BYTES, FIRST_BATCH, LARGEST_BATCH, Reading

MOST_CHANNELS = 2_047


def sizes(total: int, *, body: int) -> list[int]:
    """The windows that a queue of so many messages, with bodies of so many bytes, is read in."""
    reading = Reading(cast("Any", None), Queue("dead", {}), total)
    found = [FIRST_BATCH]
    while sum(found) < total:
        found.append(reading._next_size(found[-1], body))
    return found


@pytest.mark.parametrize("total", [1, 100_000, 50_000_000])
def test_any_number_of_messages_fits_the_channels_of_a_connection(total: int) -> None:
    """Each window has a channel of its own."""
    assert len(sizes(total, body=300)) < MOST_CHANNELS


def test_windows_grow_to_a_limit() -> None:
    """A look at a few takes no more in hand; the many go in large steps."""
    assert [100, 400, 1_600, LARGEST_BATCH, LARGEST_BATCH] == sizes(10_000, body=300)


def test_large_bodies_make_small_windows() -> None:
    """Down to one message that is larger than a window may be."""
    assert {BATCH_BYTES // 1_000_000} == set(sizes(1_000, body=1_000_000)[1:])
    assert 1 == sizes(102, body=2 * BATCH_BYTES)[-1]
