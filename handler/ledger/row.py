"""``Row``: what the ledger stores about one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from events.outcome import AcceptedBackup
from handler.backup.ports import Doubt, Finished
from handler.backup.result import is_skip

UNSETTLED: Final = ("claimed", "in doubt", "accepted")
STATES: Final = (*UNSETTLED, "completed", "failed", "skipped", "open")
"""Where a snapshot can stand. ``open``: its claim was given back; ``UNSETTLED``: no end is known."""


class RowState(StrEnum):
    """The state of a snapshot's backup. A lease, a doubt and failed events are kept beside it."""

    OPEN = "open"
    """No backup is known."""
    CREATED = "made"
    COMPLETED = "completed"
    ERROR = "error"
    """The last backup ended in error; a replay may make another."""


_UNCHANGED = 0.01


class Slot(NamedTuple):
    """A place among the backups in progress of some groups, held since and until a time.

    ``until`` is ``hold`` seconds after the last change, or up to a hundredth of them earlier.
    """

    groups: tuple[str, ...]
    hold: float
    since: float
    until: float

    def renewed(self, now: float) -> "Slot":
        """Return the slot after a change. It is the same soon after the last one, which saves a write."""
        until = now + self.hold
        return self._replace(until=until) if until - self.until > self.hold * _UNCHANGED else self


@dataclass(frozen=True, slots=True)
class Row:
    """One snapshot's row. Times are seconds since the epoch."""

    state: RowState = RowState.OPEN
    token: str | None = None
    """The claim that holds the lease. It stays when the lease expires, since its request may have left."""
    lease_until: float = 0.0
    doubt: Doubt | None = None
    backup: AcceptedBackup | None = None
    made_at: float = 0.0
    end: Finished | None = None
    failures: Mapping[str, Finished] = field(default_factory=dict)
    """The failure of each event that failed, by cause, oldest first."""
    failed_backups: Annotated[tuple[str, ...], Field(alias="spoiled")] = ()
    """Backups of this snapshot that ended in error."""
    updated_at: float = 0.0
    sent: bool = False
    """Whether a request for a backup may have left before: then a lookup comes before the next one."""
    slot: Slot | None = None
    """The place among the backups in progress, where their number is limited."""

    @property
    def idle(self) -> bool:
        """Whether the snapshot is neither claimed nor in doubt."""
        return self.token is None and self.doubt is None

    @property
    def settled(self) -> bool:
        """Whether no further change is expected."""
        return self.idle and self.state is not RowState.CREATED

    @property
    def standing(self) -> str:
        """Where the snapshot stands, one of ``STATES``. A claim or a doubt hides the state of the backup."""
        if self.state is RowState.COMPLETED:
            return "completed"
        if self.token is not None:
            return "claimed"
        if self.doubt is not None:
            return "in doubt"
        if self.state is RowState.CREATED:
            return "accepted"
        if self._category is not None:
            return "failed"
        return "skipped" if self.failures else "open"

    @property
    def category(self) -> str | None:
        """Of a failed snapshot: the category of the backup that ended in error, else of the first failure."""
        return self._category if self.standing == "failed" else None

    @property
    def _category(self) -> str | None:
        ends = (self.end, *self.failures.values()) if self.state is RowState.ERROR else self.failures.values()
        failures = (end.failure for end in ends if end and end.failure and not is_skip(end.failure))
        return next((failure.category.value for failure in failures), None)

    @property
    def label(self) -> str:
        """The state in one word for the operator. A claim or a doubt hides the state of the backup."""
        if self.token is not None:
            return "claimed"
        if self.doubt is not None:
            return "doubt"
        return "refused" if self.state is RowState.OPEN and self.failures else self.state.value
