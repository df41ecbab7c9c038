"""What the ledger has about snapshots and waiting messages, for the operator. Reading changes nothing."""

from collections.abc import Sequence
from typing import NamedTuple

from handler.backup.ports import Key
from handler.ledger.row import Row

MOST_SNAPSHOTS = 100
"""Most rows that are read for one snapshot id: one for each project that an event has named with it."""


class WaitingRecord(NamedTuple):
    """A recorded waiting message. Times are seconds since the epoch.

    ``waits`` counts its delays, and ``swept`` how often it was published again since it was last recorded.
    """

    project_id: str | None
    snapshot_id: str | None
    reason: str
    waits: int
    recorded_at: float
    due_at: float
    swept: int


class SnapshotRecord(NamedTuple):
    """What the ledger has about one snapshot: its row, None where only a message is recorded."""

    key: Key
    row: Row | None
    waiting: Sequence[WaitingRecord]


class WaitingFilter(NamedTuple):
    """Which records to list: those that are due first, up to ``limit``."""

    limit: int
    project_id: str | None = None
    reason: str | None = None


class WaitingList(NamedTuple):
    """The records that a filter lets through, ``total`` without its limit, and the time of the store."""

    records: Sequence[WaitingRecord]
    total: int
    as_of: float


def joined(rows: Sequence[tuple[Key, Row]], waiting: Sequence[WaitingRecord]) -> Sequence[SnapshotRecord]:
    """Return a record for each key of rows and waiting messages, in order of the project."""
    found = dict(rows)
    by_key: dict[Key, list[WaitingRecord]] = {key: [] for key in found}
    for each in waiting:
        by_key.setdefault(Key(each.project_id or "", each.snapshot_id or ""), []).append(each)
    return [SnapshotRecord(key, found.get(key), by_key[key]) for key in sorted(by_key)]
