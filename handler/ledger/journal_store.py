"""The journal and the operator's inquiries in a database: one class over the dialects of both."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from handler.backup.ports import Key
from handler.ledger import journal_sql as sql
from handler.ledger.columns import from_columns
from handler.ledger.inquiry import (
    MOST_SNAPSHOTS,
    By,
    Overview,
    StateCount,
    StateFilter,
    StateList,
    StateRecord,
    Sum,
    merged,
    named_hour,
)
from handler.ledger.journal import HOUR, Journal
from handler.ledger.row import STATES, UNSETTLED
from handler.ledger.search import WAITING, Slice, Sliced

_EVER = 1e12
"""A time after all others, in seconds since the epoch."""


class Cursor(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    def fetchall(self) -> list[Any]:
        """Return all rows."""


class Connection(Protocol):
    """A connection to a database of either kind."""

    def execute(self, statement: Any, parameters: Any, /) -> Cursor:
        """Run a statement with named parameters."""


class StoredJournal(Journal):
    """The journal in a transaction. A subclass for each database writes the sums."""

    dialect: sql.Dialect
    in_body: str
    """The expression for where some bytes are in a body."""

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(now)
        self._time = now
        self._open = connection

    def _run(self, statement: str, parameters: Mapping[str, Any], **parts: str) -> Cursor:
        return self._open.execute(self.dialect.text(statement, **parts), parameters)

    def find(self, snapshot_id: str, project_id: str | None) -> list[Any]:
        """Read the rows of a snapshot, each with its journal before it."""
        wanted = {"snapshot": snapshot_id, "project": project_id, "limit": MOST_SNAPSHOTS}
        return self._run(sql.FIND if project_id is None else sql.FIND_IN_PROJECT, wanted).fetchall()

    def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""
        statement = sql.SEARCH_WAITING if which.place == WAITING else sql.SEARCH
        parts = {"find": self.dialect.find, "in_body": self.in_body}
        rows = self._run(statement, which.values, **parts).fetchall()
        keys = dict.fromkeys(Key(p, s) for p, s, _, found in rows if found and p and s)
        last = rows[-1][2] if len(rows) == which.limit else None
        return Sliced(list(keys), len(rows), which.next(last))

    def forget_sums(self, before: float) -> None:
        """Delete the sums of hours that are too old."""
        self._run(sql.FORGET_SUMS, {"before": int(before // HOUR)})

    def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing: one range of the index for each."""
        found: list[Iterator[StateRecord]] = [
            iter(self._listed(which, standing))
            for state in which.states
            for standing in sql.standings(state)
            if which.category is None or standing.endswith(f"/{which.category}")
        ]
        return merged(found, which, self._time)

    def _listed(self, which: StateFilter, standing: str) -> list[StateRecord]:
        wanted = {**_window(which.since, which.until, which.project_id), "standing": standing}
        statement = sql.OLDEST_FIRST if which.oldest_first else sql.NEWEST_FIRST
        rows = self._run(statement, {**wanted, "limit": which.limit + 1}).fetchall()
        return [StateRecord(Key(project, snapshot), from_columns(*rest)) for project, snapshot, *rest in rows]

    def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""
        states = {
            standing: StateCount(*self._run(sql.COUNT, {"standing": standing}).fetchall()[0])
            for standing in UNSETTLED
        }
        waiting = {reason: StateCount(*rest) for reason, *rest in self._run(sql.COUNT_WAITING, {}).fetchall()}
        return Overview(states, waiting, self.outcomes(since, None, "hour"), self._time)

    def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes by whole hours."""
        wanted = {"since": int(since // HOUR), "until": int((_EVER if until is None else until) // HOUR)}
        rows = self._run(sql.SUMS, wanted, group=sql.SUMS_BY[by]).fetchall()
        return [
            Sum(named_hour(group) if by == "hour" else group, what, int(count)) for group, what, count in rows
        ]

    def report(self, since: float, until: float | None, by: By, project_id: str | None) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""
        window, counts = _window(since, until, project_id), Counter[tuple[Any, str]]()
        for state in STATES:
            for standing in sql.standings(state):
                category = standing.partition("/")[2]
                for group, count in self._grouped(
                    sql.REPORT, by, "updated_at", {**window, "standing": standing}
                ):
                    counts[category if by == "category" else group, state] += count
        for group, count in self._grouped(sql.REPORT_WAITING, by, "recorded_at", window):
            counts[group or "", "waiting"] += count
        name = named_hour if by == "hour" else str
        return [Sum(name(group), what, count) for (group, what), count in sorted(counts.items())]

    def _grouped(self, statement: str, by: By, at: str, wanted: Mapping[str, Any]) -> list[Any]:
        return self._run(statement, wanted, group=self.dialect.group(by, at)).fetchall()


def _window(since: float | None, until: float | None, project_id: str | None) -> Mapping[str, Any]:
    return {
        "since": 0.0 if since is None else since,
        "until": _EVER if until is None else until,
        "project": project_id,
    }
