"""Which rows a prune deletes: one rule, for counting them and for deleting them."""

from typing import NamedTuple

from handler.ledger.row import Row

UNSETTLED_SECONDS = 30 * 86400.0
"""Rows without an end are kept at least so long: forgetting one can cost a second backup."""


class Cutoff(NamedTuple):
    """The latest times, in seconds since the epoch, at which a row was written that is deleted."""

    settled: float
    unsettled: float

    def covers(self, row: Row) -> bool:
        """Tell whether a prune deletes this row."""
        return row.updated_at <= (self.settled if row.settled else self.unsettled)


def cutoff(older_than: float, *, as_of: float) -> Cutoff:
    """Return the cutoff for rows that were last written ``older_than`` seconds before ``as_of``."""
    return Cutoff(as_of - older_than, as_of - max(older_than, UNSETTLED_SECONDS))


class Prunable(NamedTuple):
    """What a prune would delete. Times are seconds since the epoch, None where there are no rows.

    ``without_end`` counts the rows that are claimed, in doubt, or made and not completed. ``as_of`` is the
    ledger's time of the count: a prune as of the same time deletes none that were not counted.
    """

    total: int
    without_end: int
    oldest: float | None
    youngest: float | None
    as_of: float
