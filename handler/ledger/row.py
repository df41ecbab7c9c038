"""What the ledger remembers of one snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from events.outcome import AcceptedBackup
from handler.backup.ports import Doubt, Finished


class RowState(StrEnum):
    """How far the backup of a snapshot is; a lease, a doubt and failed events lie on top of it."""

    OPEN = "open"
    """No backup is known."""
    CREATED = "made"
    COMPLETED = "completed"
    ERROR = "error"
    """The last backup ended in error; a replay may make another."""


@dataclass(frozen=True, slots=True)
class Row:
    """One snapshot's row. Times are seconds since the epoch."""

    state: RowState = RowState.OPEN
    token: str | None = None
    """Who holds the lease; it stays after the lease has ended, since the holder may have sent."""
    lease_until: float = 0.0
    doubt: Doubt | None = None
    backup: AcceptedBackup | None = None
    made_at: float = 0.0
    end: Finished | None = None
    failures: Mapping[str, Finished] = field(default_factory=dict)
    """What was told to each cause that failed, oldest first."""
    failed_backups: Annotated[tuple[str, ...], Field(alias="spoiled")] = ()
    """Backups of this snapshot that ended in error."""
    updated_at: float = 0.0
    sent: bool = False
    """Whether a request for a backup may have left before: then a lookup comes before the next one."""

    @property
    def idle(self) -> bool:
        """Nobody is at it and no call is in doubt."""
        return self.token is None and self.doubt is None

    @property
    def settled(self) -> bool:
        """Nothing is expected to happen to it any more."""
        return self.idle and self.state is not RowState.CREATED

    @property
    def label(self) -> str:
        """The state in one word for people: the lease and the doubt come before what lies under them."""
        if self.token is not None:
            return "claimed"
        if self.doubt is not None:
            return "doubt"
        return "refused" if self.state is RowState.OPEN and self.failures else self.state.value
