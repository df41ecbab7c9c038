"""The retention rule: which rows a prune deletes. Counting and deleting share it."""

from typing import NamedTuple

from handler.ledger.row import Row

UNSETTLED_SECONDS = 30 * 86400.0
"""How long a row without an end is kept at least: without it, a second backup could be made."""


class Cutoff(NamedTuple):
    """The times of a prune: rows last written at them or before are deleted. Seconds since the epoch."""

    settled: float
    unsettled: float

    def covers(self, row: Row) -> bool:
        """Return whether a prune deletes this row."""
        return row.updated_at <= (self.settled if row.settled else self.unsettled)


def cutoff(older_than: float, *, as_of: float) -> Cutoff:
    """Return the cutoff for rows that were last written ``older_than`` seconds before ``as_of``."""
    return Cutoff(as_of - older_than, as_of - max(older_than, UNSETTLED_SECONDS))


class Prunable(NamedTuple):
    """The rows that a prune would delete. Times are seconds since the epoch, None where there are no rows.

    ``without_end`` counts the rows that are claimed, in doubt, or created and not completed. ``as_of`` is the
    ledger's time of the count: a prune as of this time deletes no row that was not counted.
    """

    total: int
    without_end: int
    oldest: float | None
    youngest: float | None
    as_of: float
