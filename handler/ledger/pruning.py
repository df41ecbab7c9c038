"""The rules of a prune: which rows it deletes, which counting shares, and in steps of which size."""

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


MOST_ROWS = 500
"""Most rows that a prune deletes in one step."""

MOST_SECONDS = 0.02
"""How long a step may take. Claims wait for it where it shares their connection, or the file's lock."""

_FIRST_ROWS = 50
_LONGEST_REST = 1.0


class Steps:
    """The size of a prune's next step, so that a disk or a server of any speed keeps to ``MOST_SECONDS``."""

    def __init__(self) -> None:
        self.rows = _FIRST_ROWS

    def took(self, seconds: float) -> None:
        """Note how long a step of ``rows`` rows has taken."""
        fitting = int(self.rows * MOST_SECONDS / max(seconds, 1e-6))
        self.rows = max(1, min(fitting, 2 * self.rows, MOST_ROWS))


def rest(seconds: float) -> float:
    """Return how long to leave the ledger to others after a step that has taken so long."""
    return min(seconds, _LONGEST_REST)
