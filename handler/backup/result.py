"""Results: what replaces a message, as data. ``process`` publishes it.

A result is an outcome to publish, a delay, a dead letter, some of them together, or none (``ignored``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypedDict

from events.errors import EventError, EventIds, InvalidEvent
from events.message import Message, State, WaitReason
from events.outcome import (
    AcceptedBackup,
    BackupAccepted,
    BackupCompleted,
    BackupFailed,
    BackupSkipped,
    Category,
    Cause,
    CompletedBackup,
    Failure,
    OutcomeData,
)
from events.snapshot import ForeignEvent, SnapshotEvent
from handler.backup.ports import Doubt, Finished, Granted, Key
from handler.backup.received import Received
from handler.backup.request import BackupRequest
from handler.backup.selection import Selected
from handler.errors import ApiError, TooLarge
from handler.redaction import redacted

Kind = Literal["accepted", "completed", "failed", "skipped", "waiting", "ignored"]

_MESSAGE_LIMIT = 1024
_SKIPPED = "skipped"


class Delay(NamedTuple):
    """A delay of the message: the state that it comes back with, and in how many seconds.

    ``unroutable`` is the type of the outcome that no queue is bound for, if that is the reason.
    It is not ``recorded`` in the ledger where the ledger is known to be unavailable.
    """

    state: State
    seconds: float
    unroutable: str | None = None
    recorded: bool = True


class Result(NamedTuple):
    """What becomes of a message. The outcome is published first, then the delay or the dead letter.

    ``state`` is what was known of the message when it was received, and ``form`` the form of its event, where
    that could be read.
    """

    kind: Kind
    original: Message
    state: State
    ids: EventIds
    form: str | None = None
    outcome: OutcomeData | None = None
    delay: Delay | None = None
    dead_letter: Failure | None = None

    @property
    def traceparent(self) -> str | None:
        """The trace context of the process that handled the message last."""
        return self.state.traceparent

    @property
    def event_id(self) -> str:
        """The event's id, or the one derived from its bytes."""
        return self.ids.event_id or self.original.derived_id

    @property
    def category(self) -> str | None:
        """The category of a failure."""
        return self.dead_letter.category.value if self.dead_letter else None

    @property
    def reason(self) -> str | None:
        """The category of a failure, or why the message waits."""
        return self.category or (self.delay.state.reason if self.delay else None)

    @property
    def backup_id(self) -> str | None:
        """The backup of the snapshot, as far as it is known."""
        backup = getattr(self.outcome, "backup", None)
        return backup.id if backup else self.state.backup_id


class Job(NamedTuple):
    """A message that asks for a backup, with what was worked out about it."""

    original: Message
    state: State
    event: SnapshotEvent
    ids: EventIds
    project_id: str
    request: BackupRequest
    selected: Selected

    @property
    def traceparent(self) -> str | None:
        """The trace context of the process that handled the message last, or else of the producer."""
        return self.state.traceparent or self.event.traceparent

    @property
    def key(self) -> Key:
        """The idempotency key."""
        return Key(self.project_id, self.request.snapshot_id)

    @property
    def cause(self) -> str:
        """The event, and the replay that sent it back: each may try once more what has failed."""
        return f"{self.event.id}#{self.state.replay}" if self.state.replay else self.event.id

    def result(
        self,
        kind: Kind,
        outcome: OutcomeData | None = None,
        *,
        delay: Delay | None = None,
        dead_letter: Failure | None = None,
    ) -> Result:
        """Return a result of this job."""
        return Result(kind, self.original, self.state, self.ids, self.event.form, outcome, delay, dead_letter)

    def in_doubt(self, claim: Granted) -> Granted:
        """Return the claim, with the doubt that the message carries where the ledger knows none."""
        if claim.doubt or self.state.doubt_since is None:
            return claim
        return claim._replace(doubt=Doubt(self.state.doubt_since, self.state.lookups, lookup_after=0.0))

    def without_doubt(self) -> "Job":
        """Return the job after an answer that leaves no doubt."""
        return self._replace(state=self.state._replace(doubt_since=None, lookups=0))

    def without_crashes(self) -> "Job":
        """Return the job after a call that this process has survived: the message is no poison."""
        return self._replace(state=self.state._replace(crashes=0))

    def without_room(self, now: float) -> "Job":
        """Return the job where it has to wait for room."""
        return self._replace(state=self.state.without_room(now))

    def with_room(self, now: float) -> "Job":
        """Return the job once it need not wait for room."""
        return self if self.state.room_since is None else self._replace(state=self.state.with_room(now))

    def attempted(self) -> "Job":
        """Return the job after one more counted attempt."""
        return self._replace(state=self.state._replace(attempts=self.state.attempts + 1))


class _Subject(TypedDict):
    project_id: str | None
    volume_id: str | None
    snapshot_id: str | None
    cause: Cause
    attempts: int


def _subject(ids: EventIds, *, event_id: str, attempts: int) -> _Subject:
    return _Subject(
        project_id=ids.project_id,
        volume_id=ids.volume_id,
        snapshot_id=ids.snapshot_id,
        cause=Cause(id=event_id, source=ids.source, type=ids.type),
        attempts=attempts,
    )


def _job_subject(job: Job) -> _Subject:
    return _subject(job.ids, event_id=job.event.id, attempts=job.state.attempts)


def ignored(received: Received, event: ForeignEvent) -> Result:
    """Ignore a notification of another thing: it is counted and acknowledged, without an outcome."""
    return Result("ignored", received.original, received.state, EventIds(type=event.type), event.form)


def rejected(received: Received, error: EventError) -> Result:
    """Fail an event that is wrong in itself, and dead-letter the message."""
    state = received.state._replace(traceparent=received.state.traceparent or error.traceparent)
    return ended(received._replace(state=state), error.ids, invalid(error), attempts=0)


def ended(received: Received, ids: EventIds, failure: Failure, *, attempts: int) -> Result:
    """Fail an event without handling it, and dead-letter the message."""
    original = received.original
    subject = _subject(ids, event_id=ids.event_id or original.derived_id, attempts=attempts)
    outcome = BackupFailed(**subject, error=failure, dead_lettered=True)
    return Result("failed", original, received.state, ids, outcome=outcome, dead_letter=failure)


def invalid(error: EventError) -> Failure:
    """Make the ``error`` of an outcome from what is wrong with the event."""
    return Failure(category=Category(error.category), code=error.code, message=truncate(error.message))


def bug(error: Exception, ids: EventIds) -> InvalidEvent:
    """Return the error of an event whose handling failed by a bug of this program."""
    return InvalidEvent("bug", f"{type(error).__name__} within snapshot-backup", ids)


def too_large(error: TooLarge, ids: EventIds) -> InvalidEvent:
    """Return the error of an event whose message cannot wait, since the broker takes none as large."""
    return InvalidEvent("too_large_to_wait", f"the message must wait, and cannot: {error}", ids)


def look_up_later(job: Job, doubt: Doubt, seconds: float) -> Result:
    """Delay the next lookup of a call in doubt. The message carries the doubt, for a ledger that forgets."""
    state = job.state._replace(doubt_since=doubt.since, lookups=doubt.lookups)
    return delayed(job._replace(state=state), "lookup", seconds)


def delayed(job: Job, reason: WaitReason, seconds: float, *, recorded: bool = True) -> Result:
    """Delay the message. One that tracks a backup goes on tracking it after a pause.

    Crashes stay counted: after each crash a poison message waits until the claim of the dead process ends.
    """
    if job.state.reason == "track" and reason == "pause":
        reason = "track"
    state = job.state._replace(reason=reason, waits=job.state.waits + 1)
    return job.result("waiting", delay=Delay(state, seconds, recorded=recorded))


def paused(job: Job, seconds: float, *, now: float) -> Result:
    """Delay the message until an operator's pause ends: no attempt, and no time, counts meanwhile."""
    return delayed(job.without_room(now), "paused", seconds)


def replaced(job: Job) -> Result:
    """End this copy of a message quietly: another copy, or an operator, ends its event."""
    return job.result("waiting")


def accepted(job: Job, backup: AcceptedBackup, *, found: bool) -> Result:
    """Publish that the API makes the backup, or that one was found."""
    return job.result("accepted", BackupAccepted(**_job_subject(job), backup=backup, found=found))


def tracked(result: Result, job: Job, backup_id: str, *, accepted_at: float, seconds: float) -> Result:
    """Add to ``result`` that the message tracks the backup; the next lookup comes after ``seconds``."""
    state = job.state._replace(
        reason="track",
        waits=job.state.waits + 1,
        crashes=0,
        backup_id=backup_id,
        accepted_at=accepted_at,
    )
    return result._replace(delay=Delay(state, seconds))


def completed(job: Job, backup: CompletedBackup, *, seconds: float) -> Result:
    """Publish that the backup is available."""
    return job.result("completed", BackupCompleted(**_job_subject(job), backup=backup, seconds=seconds))


def failed(job: Job, failure: Failure) -> Result:
    """Publish the failure, and dead-letter the message."""
    outcome = BackupFailed(**_job_subject(job), error=failure, dead_lettered=True)
    return job.result("failed", outcome, dead_letter=failure)


def skipped(job: Job, reason: str) -> Result:
    """Publish that the snapshot is deliberately not backed up."""
    return job.result("skipped", BackupSkipped(**_job_subject(job), reason=reason))


def recorded_skip(reason: str) -> Failure:
    """Return what the ledger records of a skipped snapshot: an end without a backup, and its reason.

    Its code sets it apart from the API's failures: those with a code have an HTTP status too.
    """
    return Failure(category=Category.REFUSED, code=_SKIPPED, message=truncate(reason))


def is_skip(failure: Failure) -> bool:
    """Return whether this is what ``recorded_skip`` made."""
    return failure.code == _SKIPPED and failure.status is None


def finished(job: Job, end: Finished) -> Result:
    """Publish again how it ended."""
    job = job._replace(state=job.state._replace(attempts=end.attempts or job.state.attempts))
    if end.backup:
        return completed(job, end.backup, seconds=end.seconds)
    if end.failure and is_skip(end.failure):
        return skipped(job, end.failure.message)
    return failed(job, end.failure or Failure(category=Category.BACKUP_ERROR, message="no reason was kept"))


def failure(error: ApiError, category: Category) -> Failure:
    """Make the ``error`` of an outcome from the API's answer."""
    return Failure(
        category=category,
        status=error.status,
        code=error.code and redacted(error.code),
        message=truncate(error.message),
        request_id=error.request_id and redacted(error.request_id),
    )


def truncate(text: str) -> str:
    """Return ``text`` without secrets, and short enough for an outcome and a header."""
    text = redacted(text)
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def dead_letter_headers(result: Result, failure: Failure, *, now: float, queue: str) -> Mapping[str, Any]:
    """Return the ``dl-`` headers that say why a message is dead-lettered; unknown ones are left out."""
    ids = result.ids
    headers = {
        "dl-category": failure.category.value,
        "dl-code": failure.code,
        "dl-status": failure.status,
        "dl-message": failure.message,
        "dl-attempts": result.outcome.attempts if result.outcome else result.state.attempts,
        "dl-event-id": result.event_id,
        "dl-project-id": ids.project_id,
        "dl-volume-id": ids.volume_id,
        "dl-snapshot-id": ids.snapshot_id,
        "dl-first-seen": _time(result.state.first_seen),
        "dl-dead-at": _time(now),
        "dl-source-queue": queue,
        "dl-dropped-headers": ", ".join(result.original.bad_headers)[:_MESSAGE_LIMIT] or None,
    }
    return {key: value for key, value in headers.items() if value is not None}


def minimal_headers(error: InvalidEvent, *, now: float, queue: str) -> Mapping[str, Any]:
    """Return the ``dl-`` headers of a message whose handling failed; nothing of the message is read."""
    return {
        "dl-category": error.category,
        "dl-code": error.code,
        "dl-message": error.message,
        "dl-dead-at": _time(now),
        "dl-source-queue": queue,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
