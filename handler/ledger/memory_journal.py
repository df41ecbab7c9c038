"""The journal in a ledger in memory, its sums, and the operator's inquiries."""

from collections import Counter
from collections.abc import Sequence
from math import inf

from handler.backup.ports import Key
from handler.ledger.columns import to_columns
from handler.ledger.inquiry import (
    By,
    Overview,
    StateCount,
    StateFilter,
    StateList,
    StateRecord,
    Sum,
    merged,
    named_hour,
    sums,
)
from handler.ledger.journal import HOUR, Journal
from handler.ledger.memory_tables import Tables
from handler.ledger.row import STATES, UNSETTLED, Row
from handler.ledger.search import WAITING, Slice, Sliced


class MemoryJournal(Journal):
    """The journal in a transaction."""

    def __init__(self, tables: Tables, now: float) -> None:
        super().__init__(now)
        self._tables = tables

    def flush(self) -> None:
        """Write the sums."""
        for hour, project, what, reason, number in self.sums():
            self._tables.sums[hour, project, what, reason] += number

    def forget_sums(self, before: float) -> None:
        """Delete the sums of hours that are too old."""
        kept = {key: number for key, number in self._tables.sums.items() if key[0] >= before // HOUR}
        self._tables.sums = Counter(kept)

    def search(self, which: Slice) -> Sliced:
        """Search the rows of a place, or the waiting messages, for an id: all at once."""
        if which.place == WAITING:
            bodies = {each.key: each.waiting.body for each in self._tables.waiting.values()}
            found = [key for key, body in bodies.items() if which.values["bytes"] in body]
            return Sliced(found, len(bodies), None)
        state, _, category = which.place.partition("/")
        rows = {
            key: to_columns(row)[-1]
            for key, row in self._tables.rows.items()
            if row.standing == state and (row.category or "") == category
        }
        texts = [which.values[name] for name in ("exact", "replay")]
        return Sliced([key for key, row in rows.items() if any(t in row for t in texts)], len(rows), None)

    def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""
        rows = [StateRecord(*each) for each in self._admitted(which)]
        rows.sort(key=lambda each: each.row.updated_at, reverse=not which.oldest_first)
        return merged([rows], which, self._now)

    def _admitted(self, which: StateFilter) -> list[tuple[Key, Row]]:
        return [each for each in self._tables.rows.items() if which.admits(*each)]

    def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""
        rows = self._tables.rows.values()
        changed = {name: [row.updated_at for row in rows if row.standing == name] for name in UNSETTLED}
        due: dict[str, list[float]] = {}
        for each in self._tables.waiting.values():
            due.setdefault(each.waiting.reason, []).append(each.due_at)
        return Overview(
            {name: StateCount(len(times), min(times, default=None)) for name, times in changed.items()},
            {name: StateCount(len(times), min(times)) for name, times in sorted(due.items())},
            self.outcomes(since, None, "hour"),
            self._now,
        )

    def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes by whole hours."""
        first, last = since // HOUR, inf if until is None else until // HOUR
        counts = Counter[tuple[str, str]]()
        for (hour, project, what, reason), number in self._tables.sums.items():
            if first <= hour < last:
                counts[_group(by, hour * HOUR, project, reason), what] += number
        return sums(counts)

    def report(self, since: float, until: float | None, by: By, project_id: str | None) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""
        rows = self._admitted(StateFilter(STATES, 0, project_id, since=since, until=until))
        found = [
            (_group(by, row.updated_at, key.project_id, row.category), row.standing) for key, row in rows
        ]
        messages = {
            (_group(by, each.recorded_at, key.project_id, None), key)
            for each in self._tables.waiting.values()
            if (key := each.key) not in self._tables.rows
            and key.snapshot_id
            and project_id in (None, key.project_id)
            and since <= each.recorded_at < (inf if until is None else until)
        }
        return sums(Counter([*found, *((group, "waiting") for group, _ in messages)]))


def _group(by: By, at: float, project_id: str, category: str | None) -> str:
    return {"hour": named_hour(at // HOUR), "project": project_id, "category": category or ""}[by]
