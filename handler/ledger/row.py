"""What the ledger remembers of one snapshot, and the one place where that becomes text and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from events.outcome import AcceptedBackup
from handler.ports import Doubt, Ended


class State(StrEnum):
    """How far the backup of a snapshot is; a lease, a doubt and failed events lie on top of it."""

    OPEN = "open"
    """No backup is known."""
    MADE = "made"
    COMPLETED = "completed"
    ERROR = "error"
    """The last backup ended in error; a replay may make another."""


@dataclass(frozen=True, slots=True)
class Row:
    """One snapshot's row. Times are seconds since the epoch."""

    state: State = State.OPEN
    token: str | None = None
    """Who holds the lease; it stays after the lease has ended, since the holder may have sent."""
    lease_until: float = 0.0
    doubt: Doubt | None = None
    backup: AcceptedBackup | None = None
    made_at: float = 0.0
    end: Ended | None = None
    failures: Mapping[str, Ended] = field(default_factory=dict)
    """What was told to each cause that failed, oldest first."""
    spoiled: tuple[str, ...] = ()
    """Backups of this snapshot that ended in error."""
    updated_at: float = 0.0

    @property
    def idle(self) -> bool:
        """Nobody is at it and no call is in doubt."""
        return self.token is None and self.doubt is None

    @property
    def settled(self) -> bool:
        """Nothing is expected to happen to it any more."""
        return self.idle and self.state is not State.MADE

    @property
    def label(self) -> str:
        """The state in one word for people: the lease and the doubt come before what lies under them."""
        if self.token is not None:
            return "claimed"
        if self.doubt is not None:
            return "doubt"
        return "refused" if self.state is State.OPEN and self.failures else self.state.value


_ROW = TypeAdapter(Row)
_COLUMNS = frozenset({"state", "token", "lease_until", "updated_at"})

Columns = tuple[str, str | None, float, float, int, str]
"""state, token, lease_until, updated_at, settled (0 or 1), and the rest as JSON."""


def to_columns(row: Row) -> Columns:
    """Write a row as what a table holds."""
    # ASCII, since not every database can hold every letter of an error's text.
    rest = _ROW.dump_json(row, exclude=set(_COLUMNS), exclude_defaults=True, ensure_ascii=True).decode()
    return row.state.value, row.token, row.lease_until, row.updated_at, int(row.settled), rest


def from_columns(state: str, token: str | None, lease_until: float, updated_at: float, rest: str) -> Row:
    """Read a row back. Raises ``ValueError`` where somebody else wrote into the table."""
    columns: dict[str, Any] = json.loads(rest)
    columns.update(state=state, token=token, lease_until=lease_until, updated_at=updated_at)
    return _ROW.validate_python(columns)
