"""What the ledger has about snapshots and waiting messages, for the operator. Reading changes nothing."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, NamedTuple

from handler.backup.ports import Key
from handler.ledger.journal import HOUR, Entry, entries
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
    """What the ledger has about one snapshot: its row, None where only a message is recorded.

    The journal has its entries, oldest first.
    """

    key: Key
    row: Row | None
    waiting: Sequence[WaitingRecord]
    journal: Sequence[Entry] = ()


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


class StateFilter(NamedTuple):
    """Which rows to list: those that stand in one of ``states``, up to ``limit``.

    ``since`` and ``until`` bound the time of a row's last change, by which they are in order.
    """

    states: Sequence[str]
    limit: int
    project_id: str | None = None
    category: str | None = None
    since: float | None = None
    until: float | None = None
    oldest_first: bool = True

    def admits(self, key: Key, row: Row) -> bool:
        """Return whether a row is to be listed."""
        return (
            row.standing in self.states
            and self.project_id in (None, key.project_id)
            and self.category in (None, row.category)
            and (self.since is None or row.updated_at >= self.since)
            and (self.until is None or row.updated_at < self.until)
        )


class StateRecord(NamedTuple):
    """A row, as a list shows it."""

    key: Key
    row: Row


class StateList(NamedTuple):
    """The rows that a filter lets through, whether its limit left some out, and the time of the store."""

    records: Sequence[StateRecord]
    more: bool
    as_of: float


By = Literal["hour", "project", "category"]
"""What sums are grouped by."""


class Sum(NamedTuple):
    """How many of one kind are in a group: an hour in ISO 8601, a project, or a category."""

    group: str
    what: str
    number: int


class StateCount(NamedTuple):
    """How many there are, and the time of the oldest one."""

    number: int
    oldest: float | None


class Overview(NamedTuple):
    """What has no end yet, by where it stands; the messages that wait, by reason; the outcomes of each hour.

    The oldest of a state is the one that has not changed for longest; of a reason, the one that is due first.
    """

    states: Mapping[str, StateCount]
    waiting: Mapping[str, StateCount]
    outcomes: Sequence[Sum]
    as_of: float


def merged(lists: Sequence[Iterable[StateRecord]], which: StateFilter, now: float) -> StateList:
    """Merge lists that are in the order of a filter, and keep its limit."""
    in_order = heapq.merge(*lists, key=lambda each: each.row.updated_at, reverse=not which.oldest_first)
    found = list(islice(in_order, which.limit + 1))
    return StateList(found[: which.limit], len(found) > which.limit, now)


def sums(counts: Mapping[tuple[str, str], int]) -> Sequence[Sum]:
    """Return counts by group and kind, in order."""
    return [Sum(*pair, number) for pair, number in sorted(counts.items())]


def named_hour(hour: float) -> str:
    """Return an hour since the epoch in ISO 8601."""
    return datetime.fromtimestamp(float(hour) * HOUR, UTC).isoformat(timespec="seconds")


class Known(NamedTuple):
    """A row with its journal, as it was read."""

    key: Key
    row: Row
    journal: str


def joined(rows: Sequence[Known], waiting: Sequence[tuple[WaitingRecord, str]]) -> Sequence[SnapshotRecord]:
    """Return a record for each key of rows and waiting messages, in order of the project."""
    found = {each.key: each.row for each in rows}
    story = {each.key: entries(each.key, each.journal) for each in rows}
    messages: dict[Key, list[WaitingRecord]] = {key: [] for key in found}
    for record, journal in waiting:
        key = Key(record.project_id or "", record.snapshot_id or "")
        messages.setdefault(key, []).append(record)
        story.setdefault(key, []).extend(entries(key, journal))
    return [
        SnapshotRecord(key, found.get(key), messages[key], sorted(story[key], key=lambda each: each.at))
        for key in sorted(messages)
    ]
