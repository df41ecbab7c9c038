"""A snapshot's story as a timeline: the entries of its journal, each as a sentence. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from handler.console.times import iso
from handler.ledger.journal import Entry

REASONS: Final[Mapping[str, str]] = {
    "retry": "this event is tried again",
    "lookup": "a request may have worked, and is looked up",
    "track": "the backup is in progress",
    "publish": "no queue takes the outcome",
    "check": "the event is checked at the API",
    "room": "as many backups are in progress as MAX_RUNNING allows",
    "pause": "the API, the sign-in or the ledger is down, or another message has the snapshot",
    "paused": "an operator has paused the queue or the project",
}
"""Why a message waits."""

_SENTENCES: Final[Mapping[str, str]] = {
    "claim lapsed": "the claim of {claimed} had ended without a result: its request may have worked",
    "released": "the worker gave its claim back; no backup was made",
    "in doubt": "a request may have worked; the first lookup is due {due}",
    "looked up": "lookup {number} found no backup; the next is due {due}",
    "accepted": "backup {backup_id} was accepted by the API, or found there",
    "completed": "backup {backup_id} is available",
    "failed": "{subject} failed: {error}",
    "skipped": "{subject} was skipped: the snapshot is left alone on purpose",
    "waiting": "delay number {number}, until {due}: {why}",
    "published": "the outcome was published; this message of the event waits no more",
}


class Step(NamedTuple):
    """One step: its time in seconds since the epoch, its kind, and a sentence. Texts are not escaped."""

    at: float
    what: str
    text: str
    entry: Entry | None = None


def timeline(journal: Sequence[Entry]) -> Sequence[Step]:
    """Return the steps of a journal, oldest first. A claim is a step of its own."""
    steps = [step for entry in journal for step in _steps(entry)]
    return sorted(steps, key=lambda step: step.at)


def document(step: Step) -> Mapping[str, Any]:
    """Return a step for ``--json``: the same fields for every kind, null where there is nothing."""
    entry = step.entry or Entry(step.at, "", "", step.what)
    return {
        "at": iso(step.at),
        "what": step.what,
        "text": step.text,
        "due": iso(entry.due_at),
        "number": entry.number,
        "backup_id": entry.backup_id,
        "reason": entry.reason,
        "code": entry.code,
        "event_id": entry.event_id,
    }


def _steps(entry: Entry) -> Iterator[Step]:
    if entry.began is not None and entry.what != "claim lapsed":
        yield Step(entry.began, "claimed", "a worker claimed the snapshot, or renewed its claim")
    yield Step(entry.at, entry.what, _text(entry), entry)


def _text(entry: Entry) -> str:
    facts = {
        **entry._asdict(),
        "due": iso(entry.due_at),
        "claimed": iso(entry.began),
        "subject": f"backup {entry.backup_id}" if entry.backup_id else f"event {entry.event_id or 'unknown'}",
        "why": REASONS.get(entry.reason or "", entry.reason),
        "error": " ".join(part for part in (entry.reason, entry.code) if part),
    }
    return _SENTENCES.get(entry.what, "{what}").format(**facts)
