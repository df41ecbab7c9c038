"""The sizes of the batches of a reading."""

import pytest

from handler.dead_letters.reading import BATCH_BYTES, FIRST_BATCH, LARGEST_BATCH, next_size

MOST_CHANNELS = 2_047


def sizes(total: int, *, body: int) -> list[int]:
    """Return the batch sizes for a queue of so many messages, with bodies of so many bytes."""
    found = [FIRST_BATCH]
    while sum(found) < total:
        found.append(next_size(found[-1], body, total=total))
    return found


@pytest.mark.parametrize("total", [1, 100_000, 50_000_000])
def test_any_number_of_messages_fits_the_channels_of_a_connection(total: int) -> None:
    """A reading needs fewer batches than a connection has channels."""
    assert len(sizes(total, body=300)) < MOST_CHANNELS


def test_batches_grow_to_a_limit() -> None:
    """Each batch is four times as large as the one before, up to ``LARGEST_BATCH``."""
    assert [100, 400, 1_600, LARGEST_BATCH, LARGEST_BATCH] == sizes(10_000, body=300)


def test_large_bodies_make_small_batches() -> None:
    """A batch shrinks with the size of the bodies, down to one message."""
    assert {BATCH_BYTES // 1_000_000} == set(sizes(1_000, body=1_000_000)[1:])
    assert 1 == sizes(102, body=2 * BATCH_BYTES)[-1]
