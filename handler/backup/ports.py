"""Ports: what message handling needs from outside, as protocols: the API, the ledger, the outbox.

This room knows them instead of pika, httpx or SQL. Each has a twin in ``tests`` that behaves like it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from events.message import Message
from events.outcome import AcceptedBackup, CompletedBackup, Failure, Outcome
from handler.backup.request import BackupRequest
from handler.backup.running import Room


class Backup(NamedTuple):
    """A backup as the API shows it. ``detail`` is the part that outcomes contain."""

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


class Chain(NamedTuple):
    """A full backup of a volume and the incremental ones after it, as far as they are available.

    ``length`` counts them all: 0 means that an incremental backup has no parent. ``size`` is the newest
    one's, in GB. ``in_progress`` says that the volume has a backup that may become available.
    """

    length: int = 0
    size: int | None = None
    in_progress: bool = False


class Api(Protocol):
    """The VBS API. Every method raises ``ApiError``."""

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """Request a backup. An ``ApiError`` of category ``in_doubt`` means that the backup may exist."""

    async def check(self, project_id: str) -> None:
        """Raise ``ApiError`` if the API does not accept our account in this project; read only."""

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        """Return all backups of this snapshot, oldest first; all pages are read.

        One matches by its snapshot id, or by ``name`` where the API leaves the snapshot id out.
        """

    async def chain(self, project_id: str, volume_id: str) -> Chain:
        """Return the chain of backups that an incremental backup of the volume would be added to."""

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
    """A call in doubt: since when, how many lookups found nothing, and when the next lookup is due.

    Times are seconds since the epoch.
    """

    since: float
    lookups: Annotated[int, Field(alias="looks")]
    lookup_after: Annotated[float, Field(alias="look_after")]


class Granted(NamedTuple):
    """The claim belongs to this process until its lease ends; ``token`` proves it in later calls.

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
    """Another worker holds the claim until ``until`` (seconds since the epoch), or longer."""

    until: float


class Full(NamedTuple):
    """As many backups are in progress as may be: ask again after ``seconds``."""

    seconds: float


class Created(NamedTuple):
    """The backup was made at ``made_at`` (seconds since the epoch) and its end is not known yet."""

    backup: AcceptedBackup
    made_at: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The end: a completed backup after ``seconds``, or a failure of this event or of its backup."""

    backup: CompletedBackup | None = None
    seconds: float = 0.0
    failure: Failure | None = None
    attempts: int = 0


Claim = Granted | Busy | Full | Created | Finished


class Waiting(NamedTuple):
    """A waiting message, as the ledger records it: what the broker may lose, and what it is about.

    ``id`` is ``waiting_id``. ``body`` is the body that is published into the wait queue, signed, and
    ``seconds`` that queue's delay. ``waits`` counts the delays of the message, this one included. Project and
    snapshot are None where the message is not parsed, or names none.
    """

    id: str
    body: bytes
    seconds: float
    reason: str
    waits: int
    project_id: str | None = None
    snapshot_id: str | None = None


class Ledger(Protocol):
    """The ledger. Every method raises ``LedgerUnavailable``; when it returns, the change is on disk."""

    async def claim(
        self, key: Key, cause: str, *, replay: bool = False, room: Room | None = None, known: bool = False
    ) -> Claim:
        """Claim the right to make the backup of a snapshot, in one transaction.

        With ``room``, a claim that is granted has a slot in each of its groups, until the backup or the event
        has ended. Where there is none the answer is ``Full`` in place of ``Granted``, and nothing is claimed.
        A claim in doubt always gets a slot, and so does a backup that is tracked and has none.
        ``known`` says that the ledger has probably a row of the snapshot; it changes no answer.

        - no row, or released: ``Granted``
        - claimed by another worker whose lease holds: ``Busy``; whose lease has ended: ``Granted`` in doubt,
          since the request may have left
        - in doubt: ``Granted`` with the doubt
        - created: ``Created``
        - completed: ``Finished``
        - a failure recorded for this very ``cause``: ``Finished``, whatever has happened since
        - refused for another cause: ``Granted`` (another event may try again)
        - ended in error: ``Finished``, but ``Granted`` for a replay whose ``cause`` has not failed yet
        """

    async def holds(self, claim: Granted) -> bool:
        """Return whether the claim's lease still holds, without I/O; called right before the request."""

    def abandon(self, claim: Granted) -> None:
        """Stop renewing a claim whose handling failed: it lapses, and the next claim is in doubt. No I/O."""

    async def release(self, claim: Granted) -> None:
        """Give the claim back: no request was sent, or the API answered that it cannot be done now."""

    async def doubt(self, claim: Granted, doubt: Doubt) -> None:
        """Record that the call may have worked, and give the lease back."""

    async def created(self, claim: Granted, backup: AcceptedBackup) -> None:
        """Record the backup, even if the lease has ended meanwhile."""

    async def refused(self, claim: Granted, cause: str, failure: Failure, *, attempts: int) -> None:
        """Record the failure of this event, so that a redelivery publishes the same. A doubt is kept."""

    async def give_up(
        self, key: Key, cause: str, failure: Failure, *, attempts: int, tracked: bool, replay: bool = False
    ) -> Created | Finished:
        """Record, without a claim, that this event has failed, unless more is known; return what holds.

        More is an end, as ``claim`` returns it, or a backup. The backup counts only for an event that is not
        ``tracked`` yet: for a tracked one, that it was accepted is published already.
        """

    async def finished(self, key: Key, end: Finished, *, backup_id: str, cause: str) -> None:
        """Record the end of the backup ``backup_id``: completed, or in error.

        One that has only expired stays made: it may yet complete, so none is made beside it.
        """

    async def record_waiting(self, waiting: Waiting, *, drop_copy: bool = False) -> bool:
        """Record a message that is delayed, in place of its earlier record.

        With ``drop_copy``, False is returned and nothing recorded where a copy of the message is ahead: it
        has waited at least as often, and is not due yet. This copy need not wait then.
        """

    async def forget_waiting(self, waiting_id: str) -> None:
        """Delete the record of a message that waits no more, since its event has ended."""

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether this copy of a message, which has waited so often, was replaced by an operator.

        The message was brought back early, or ended, while this copy was in a wait queue.
        """

    async def renew(self) -> None:
        """Renew the lease of every claim that this process holds."""

    async def prune(self, older_than: float) -> int:
        """Delete rows that ended more than ``older_than`` seconds ago; return how many."""

    async def check(self) -> None:
        """Write something, to prove that the ledger can be read and written."""

    async def aclose(self) -> None:
        """Release files and connections."""


class Outbox(Protocol):
    """Publishes messages. When a method returns, the broker has confirmed the message.

    Every method raises ``ConnectionLost`` when the connection is lost; the broker delivers again.
    """

    async def publish_outcome(self, outcome: Outcome) -> None:
        """Publish an outcome. Raises ``Unroutable`` if no queue is bound for it, unless that is ignored."""

    async def delay(self, body: bytes, *, seconds: float) -> None:
        """Put a waiting message into the first wait queue whose delay is not shorter. Raises ``TooLarge``."""

    async def delay_unroutable(self, body: bytes, outcome_type: str, *, seconds: float) -> None:
        """Delay a message whose outcome of this type is unroutable.

        One message of each type comes back after the shortest delay, to try the route. The others are parked
        until ``release_unroutable``; where that cannot be, they are delayed ``seconds``.
        """

    async def release_unroutable(self) -> None:
        """Return parked messages to the queue, some at a time; called when a delayed outcome is published."""

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        """Publish the original to the dead letters, with ``dl-`` headers added."""
