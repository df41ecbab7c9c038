"""What the story of a message needs from outside, as protocols.

``process`` and ``policy`` know these, not pika, httpx or SQL. Each has a twin that behaves in ``tests``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from events.message import Message
from events.outcome import AcceptedBackup, CompletedBackup, Failure, Outcome
from handler.backup.request import BackupRequest


class Backup(NamedTuple):
    """A backup as the API shows it. ``detail`` is the part that outcomes tell."""

    detail: CompletedBackup
    snapshot_id: str | None
    volume_id: str | None
    fail_reason: str | None = None

    @property
    def id(self) -> str:
        """The backup's id."""
        return self.detail.id

    @property
    def status(self) -> str:
        """The API's word, lower case: ``creating``, ``available``, ``error``, …."""
        return self.detail.status


class Snapshot(NamedTuple):
    """A snapshot as the API shows it; ``size`` in GB."""

    id: str
    volume_id: str
    status: str
    name: str | None = None
    size: int | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})


class Api(Protocol):
    """The VBS API. Every method raises ``ApiError``."""

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """Ask for a backup. An ``ApiError`` of category ``in_doubt`` means that it may have been made."""

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        """Return all backups of this snapshot, oldest first; all pages are read.

        One matches by its snapshot id, or by ``name`` where the API leaves the snapshot id out.
        """

    async def has_full_backup(self, project_id: str, volume_id: str) -> bool:
        """Tell whether the volume has a full backup that is available, so that an incremental one can be."""

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        """Return the backup, or None where the API knows that there is none."""

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """Return the snapshot, or None where the API knows that there is none."""

    async def aclose(self) -> None:
        """Close connections."""


class Key(NamedTuple):
    """The idempotency key of a backup."""

    project_id: str
    snapshot_id: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call that may have worked: since when, how often it was looked for, and when to look next.

    Times are seconds since the epoch.
    """

    since: float
    lookups: Annotated[int, Field(alias="looks")]
    lookup_after: Annotated[float, Field(alias="look_after")]


class Granted(NamedTuple):
    """The claim is ours until its lease ends; ``token`` proves it in the calls that follow.

    ``ask_first`` says that a lookup comes before the first request: for a replay, where a request may have
    left before, or since this ledger remembers nothing across processes. ``failed_backups`` are backups of
    this snapshot that ended in error, which a lookup passes over while they are in error. ``sent`` says that
    a request of this very claim may have left, whatever was answered: the next claim then looks up first.
    """

    key: Key
    token: str
    doubt: Doubt | None = None
    ask_first: bool = False
    failed_backups: frozenset[str] = frozenset()
    sent: bool = False


class Busy(NamedTuple):
    """Somebody else is at it, until ``until`` (seconds since the epoch) unless they renew."""

    until: float


class Created(NamedTuple):
    """The backup was made at ``made_at`` (seconds since the epoch) and its end is not known yet."""

    backup: AcceptedBackup
    made_at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended: a completed backup after ``seconds``, or a failure of this event or of its backup."""

    backup: CompletedBackup | None = None
    seconds: float = 0.0
    failure: Failure | None = None
    attempts: int = 0


Claim = Granted | Busy | Created | Finished


class Ledger(Protocol):
    """The promise book. Every method raises ``LedgerUnavailable``; what returned is on disk."""

    async def claim(self, key: Key, cause: str, *, replay: bool = False) -> Claim:
        """Claim the right to make the backup of a snapshot, in one transaction.

        - no row, or released: ``Ours``
        - claimed by somebody whose lease holds: ``Taken``; whose lease has ended: ``Ours`` in doubt, since
          the request may have left
        - in doubt: ``Ours`` with the doubt
        - made: ``Made``
        - completed: ``Ended``
        - told a failure before, to this very ``cause``: ``Ended``, whatever has happened since
        - refused to another cause: ``Ours`` (another event may try again)
        - ended in error: ``Ended``, but ``Ours`` for a replay with a ``cause`` that has not been tried yet
        """

    async def holds(self, claim: Granted) -> bool:
        """Tell whether the claim's lease still holds, judged without I/O; asked right before sending."""

    def abandon(self, claim: Granted) -> None:
        """Stop renewing a claim after a bug: it lapses, and who claims next is in doubt. No I/O."""

    async def release(self, claim: Granted) -> None:
        """Give the claim back: nothing was sent, or the API said «not now»."""

    async def doubt(self, claim: Granted, doubt: Doubt) -> None:
        """Write down that the call may have worked, and give the lease back."""

    async def created(self, claim: Granted, backup: AcceptedBackup) -> None:
        """Write down the backup, even where the lease has meanwhile ended."""

    async def refused(self, claim: Granted, cause: str, failure: Failure, *, attempts: int) -> None:
        """Write down that this event has failed, so that a redelivery tells the same. A doubt is kept."""

    async def give_up(
        self, key: Key, cause: str, failure: Failure, *, attempts: int, tracked: bool, replay: bool = False
    ) -> Created | Finished:
        """Write down, without a claim, that this event has failed, unless more is known; return what holds.

        More is an end, as ``claim`` would tell it, or a backup; the latter only counts for an event that is
        not ``watched`` yet, since else that its backup was made has been told.
        """

    async def finished(self, key: Key, end: Finished, *, backup_id: str, cause: str) -> None:
        """Write down the end of the backup ``backup_id``: completed, or in error.

        One that has only expired stays made: it may yet complete, so none is made beside it.
        """

    async def renew(self) -> None:
        """Renew the lease of every claim that this process holds."""

    async def prune(self, older_than: float) -> int:
        """Delete rows that ended more than ``older_than`` seconds ago; return how many."""

    async def check(self) -> None:
        """Prove that the ledger can be read and written."""

    async def aclose(self) -> None:
        """Release files and connections."""


class Outbox(Protocol):
    """Where messages leave. What returned is confirmed by the broker.

    Every method raises ``ConnectionLost`` when it can no longer matter, since the broker delivers again.
    """

    async def publish_outcome(self, outcome: Outcome) -> None:
        """Publish an outcome. Raises ``Unroutable`` where nobody is bound for it, unless that is ignored."""

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """Put a wrapped message into the first wait queue whose delay is not shorter."""

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """Publish the original to the dead letters, with ``dl-`` headers added."""
