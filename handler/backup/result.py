"""What replaces a message: an outcome to tell, a wait, a dead letter. Data only; ``process`` acts on it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypedDict

from events.errors import EventError, EventIds
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
from events.snapshot import SnapshotEvent
from handler.backup.ports import Doubt, Finished, Granted, Key
from handler.backup.request import BackupRequest
from handler.backup.selection import Selected
from handler.errors import ApiError

Kind = Literal["accepted", "completed", "failed", "skipped", "waiting", "ignored"]

_MESSAGE_LIMIT = 1024


class Job(NamedTuple):
    """A message that is for us, with what has been worked out about it."""

    original: Message
    state: State
    event: SnapshotEvent
    ids: EventIds
    project_id: str
    request: BackupRequest
    selected: Selected

    @property
    def key(self) -> Key:
        """The idempotency key."""
        return Key(self.project_id, self.request.snapshot_id)

    @property
    def cause(self) -> str:
        """The event, and the replay that sent it back: each may try once more what has failed."""
        return f"{self.event.id}#{self.state.replay}" if self.state.replay else self.event.id

    def in_doubt(self, claim: Granted) -> Granted:
        """The claim, with the doubt that the message tells of where the ledger knows none."""
        if claim.doubt or self.state.doubt_since is None:
            return claim
        return claim._replace(doubt=Doubt(self.state.doubt_since, self.state.lookups, lookup_after=0.0))

    def without_doubt(self) -> "Job":
        """The case after an answer that leaves no doubt."""
        return self._replace(state=self.state._replace(doubt_since=None, lookups=0))

    def without_crashes(self) -> "Job":
        """The case after a call that this process has lived through: it is not what kills."""
        return self._replace(state=self.state._replace(crashes=0))

    def attempted(self) -> "Job":
        """The case after one more counted try."""
        return self._replace(state=self.state._replace(attempts=self.state.attempts + 1))


class Delay(NamedTuple):
    """What is kept for later: the state to come back with, and in how many seconds."""

    state: State
    seconds: float


class Result(NamedTuple):
    """What replaces a message. Told first; then it waits or is buried, or that was all."""

    kind: Kind
    outcome: OutcomeData | None = None
    delay: Delay | None = None
    dead_letter: Failure | None = None


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


def look_up_later(job: Job, doubt: Doubt, seconds: float) -> Result:
    """Come back to look for a call in doubt; the message tells of it too, where the ledger forgets."""
    told = job.state._replace(doubt_since=doubt.since, lookups=doubt.lookups)
    return delayed(job._replace(state=told), "lookup", seconds)


def delayed(job: Job, reason: WaitReason, seconds: float) -> Result:
    """Come back later for ``reason``; a watch that everybody's trouble interrupts stays a watch.

    Crashes are still counted then: a deadly message waits after each death, until the dead one's claim ends.
    """
    if job.state.reason == "track" and reason == "pause":
        reason = "track"
    state = job.state._replace(reason=reason, waits=job.state.waits + 1)
    return Result("waiting", delay=Delay(state, seconds))


def accepted(job: Job, backup: AcceptedBackup, *, found: bool) -> Result:
    """Tell that the backup is being made."""
    return Result("accepted", outcome=BackupAccepted(**_job_subject(job), backup=backup, found=found))


def tracked(result: Result, job: Job, backup_id: str, *, accepted_at: float, seconds: float) -> Result:
    """Add to ``reply`` that the backup's end is watched, with the next look in ``seconds``."""
    state = job.state._replace(
        reason="track",
        waits=job.state.waits + 1,
        crashes=0,
        backup_id=backup_id,
        accepted_at=accepted_at,
    )
    return result._replace(delay=Delay(state, seconds))


def completed(job: Job, backup: CompletedBackup, *, seconds: float) -> Result:
    """Tell that the backup is available."""
    return Result("completed", outcome=BackupCompleted(**_job_subject(job), backup=backup, seconds=seconds))


def failed(job: Job, failure: Failure) -> Result:
    """Tell that it failed, and keep the message among the dead letters."""
    data = BackupFailed(**_job_subject(job), error=failure, dead_lettered=True)
    return Result("failed", outcome=data, dead_letter=failure)


def skipped(job: Job, reason: str) -> Result:
    """Tell that the snapshot is deliberately left alone."""
    return Result("skipped", outcome=BackupSkipped(**_job_subject(job), reason=reason))


def finished(job: Job, end: Finished) -> Result:
    """Tell again how it ended."""
    told = job._replace(state=job.state._replace(attempts=end.attempts or job.state.attempts))
    if end.backup:
        return completed(told, end.backup, seconds=end.seconds)
    return failed(told, end.failure or Failure(category=Category.BACKUP_ERROR, message="no reason was kept"))


def rejected(error: EventError, original: Message) -> Result:
    """Tell that the event itself is wrong, and keep it among the dead letters."""
    failure = Failure(category=Category(error.category), code=error.code, message=truncate(error.message))
    subject = _subject(error.ids, event_id=error.ids.event_id or original.derived_id, attempts=0)
    return Result(
        "failed", outcome=BackupFailed(**subject, error=failure, dead_lettered=True), dead_letter=failure
    )


def failure(error: ApiError, category: Category) -> Failure:
    """Make the ``error`` of an outcome from the API's answer."""
    return Failure(
        category=category,
        status=error.status,
        code=error.code,
        message=truncate(error.message),
        request_id=error.request_id,
    )


def truncate(text: str) -> str:
    """Return ``text`` short enough for an outcome and a header."""
    return text if len(text) <= _MESSAGE_LIMIT else text[: _MESSAGE_LIMIT - 1] + "…"


def dead_letter_headers(
    reason: Failure, ids: EventIds, original: Message, state: State, *, now: float, queue: str
) -> Mapping[str, Any]:
    """Return the ``dl-`` headers that say why a message was buried; unknown ones are left out."""
    headers = {
        "dl-category": reason.category.value,
        "dl-code": reason.code,
        "dl-status": reason.status,
        "dl-message": reason.message,
        "dl-attempts": state.attempts,
        "dl-event-id": ids.event_id or original.derived_id,
        "dl-project-id": ids.project_id,
        "dl-volume-id": ids.volume_id,
        "dl-snapshot-id": ids.snapshot_id,
        "dl-first-seen": _time(state.first_seen),
        "dl-dead-at": _time(now),
        "dl-source-queue": queue,
        "dl-dropped-headers": ", ".join(original.bad_headers)[:_MESSAGE_LIMIT] or None,
    }
    return {key: value for key, value in headers.items() if value is not None}


def minimal_headers(message: str, *, now: float, queue: str) -> Mapping[str, Any]:
    """Return the ``dl-`` headers of a message of which nothing could be read."""
    return {
        "dl-category": Category.INVALID.value,
        "dl-code": "bug",
        "dl-message": message,
        "dl-dead-at": _time(now),
        "dl-source-queue": queue,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
