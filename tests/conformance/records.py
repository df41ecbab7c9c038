"""What became of a case, in a form that two runs can be compared in."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.decode import decode, open_message
from events.errors import EventError
from events.outcome import BackupAccepted, BackupCompleted, BackupFailed, OutcomeEvent, outcome_id
from tests.conformance.cases import Case

MAX_BYTES = 65_536


@dataclass(frozen=True)
class Told:
    """One distinct outcome: its id with the backup's number in place of the API's random id.

    ``event_id`` is the event that it ends. What is no end belongs to the snapshot: an event that comes while
    its snapshot's backup is in progress is told so too, with the same id, and one that comes later is not.
    """

    id: str
    type: str
    category: str | None
    event_id: str | None
    snapshot_id: str | None
    found: bool


@dataclass(frozen=True)
class Record:
    """All that a case left behind."""

    outcomes: frozenset[Told]
    dead: frozenset[tuple[str, str]]
    backups: int

    @property
    def types(self) -> Counter[str]:
        """The distinct outcomes by type and category."""
        return Counter(
            f"{told.type} {told.category}" if told.category else told.type for told in self.outcomes
        )


def event_ids(case: Case) -> set[str]:
    """The ids by which the outcomes of a case are known."""
    found = set()
    for message in case.messages:
        original, _ = open_message(message, now=1.0)
        try:
            found.add(getattr(decode(original, max_bytes=MAX_BYTES), "id", ""))
        except EventError as error:
            found.add(error.ids.event_id or "")
    return found - {""}


def records(
    cases: Sequence[Case],
    outcomes: Iterable[bytes],
    dead: Iterable[Mapping[str, Any]],
    backups: Sequence[tuple[str, str]],
) -> Mapping[str, Record]:
    """Sort what a run left behind by case.

    Args:
        cases: those of the run.
        outcomes: the bodies of all outcome events told.
        dead: the headers of all dead letters.
        backups: (project id, snapshot id) of every backup made, in order.

    """
    told: dict[str, list[OutcomeEvent]] = {}
    for body in outcomes:
        event = OutcomeEvent.model_validate_json(body)
        assert outcome_id(event.data) == event.id
        told.setdefault(event.correlationid, []).append(event)
    reasons: dict[str, set[tuple[str, str]]] = {}
    for headers in dead:
        reasons.setdefault(headers["dl-event-id"], set()).add(
            (headers["dl-event-id"], headers["dl-category"])
        )
    made: dict[str, int] = Counter(snapshot for _, snapshot in backups)
    result = {}
    for case in cases:
        ids = event_ids(case)
        events = [event for each in sorted(ids) for event in told.get(each, [])]
        snapshots = {event.subject for event in events if event.subject}
        result[case.name] = Record(
            frozenset(_told(event, events) for event in events),
            frozenset(reason for each in ids for reason in reasons.get(each, ())),
            sum(made.get(snapshot, 0) for snapshot in snapshots),
        )
    return result


def _told(event: OutcomeEvent, of_case: Sequence[OutcomeEvent]) -> Told:
    data = event.data
    found = any(
        isinstance(each.data, BackupAccepted) and each.data.found for each in of_case if each.id == event.id
    )
    return Told(
        id=_without_chance(event),
        type=event.type,
        category=data.error.category.value if isinstance(data, BackupFailed) else None,
        event_id=None if isinstance(data, BackupAccepted) else event.correlationid,
        snapshot_id=event.subject,
        found=found,
    )


def _without_chance(event: OutcomeEvent) -> str:
    """The id as it would be if the API had called the snapshot's backup ``the backup``."""
    data = event.data
    if isinstance(data, BackupAccepted | BackupCompleted):
        backup = data.backup.model_copy(update={"id": "the backup"})
        return outcome_id(data.model_copy(update={"backup": backup}))
    return event.id
