"""The records of waiting messages: what the sweep takes, how often, and which rows have no message. Pure.

A waiting message is in the broker and in the ledger. If the broker loses it, the sweep publishes the body in
the ledger again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from handler.backup.ports import Key, Waiting
from handler.ledger.row import Row

FIRST_INTERVAL = 120.0
LONGEST_INTERVAL = 6 * 3600.0
"""Seconds from one publish of an overdue message to the next: they double, up to the longest."""

MOST_ROWS = 10_000
"""Most rows that are read to count those without a message, the oldest first."""


class Take(NamedTuple):
    """What a sweep asks for: up to ``limit`` messages that have been due for ``overdue`` seconds.

    ``owner`` holds the sweep for ``lease`` seconds from now; one process sweeps at a time.
    """

    owner: str
    lease: float
    overdue: float
    limit: int


class Overdue(NamedTuple):
    """A message that did not come back in time. ``swept`` counts how often it was published again before."""

    id: str
    body: bytes
    reason: str
    due_at: float
    swept: int
    project_id: str | None
    snapshot_id: str | None


class WaitingSummary(NamedTuple):
    """The recorded messages: how many, how many are due since ``overdue`` seconds, and the earliest due time.

    ``stranded`` has the snapshots that nothing can take up again, ``since`` when the ledger began to record
    waiting messages. Times are seconds since the epoch.
    """

    total: int
    overdue: int
    earliest: float | None
    stranded: Sequence[Key]
    since: float
    as_of: float


def by_delay(counts: Iterable[tuple[float, int]]) -> Mapping[int, int]:
    """Return how many overdue messages there are for each delay of a wait queue, in seconds."""
    found: Counter[int] = Counter()
    for delay, count in counts:
        found[round(delay)] += count
    return found


class Copy(NamedTuple):
    """What is recorded of a message: how often it has waited, and when it is due."""

    waits: int
    due_at: float

    def is_ahead_of(self, waiting: Waiting, now: float) -> bool:
        """Return whether a copy of this message waits already, after at least as many delays."""
        return self.waits >= waiting.waits and self.due_at > now


def next_sweep(now: float, swept: int) -> float:
    """Return when a message may be published again that was published ``swept`` times before."""
    return now + min(FIRST_INTERVAL * 2.0 ** min(swept, 32), LONGEST_INTERVAL)


def stranded(rows: Iterable[tuple[Key, Row]]) -> Sequence[Key]:
    """Return the snapshots whose event has no end although no message of theirs is recorded.

    A row that has a failure is left out: its event has ended, and only the backup may still change.
    """
    return [key for key, row in rows if not row.settled and not row.failures]
