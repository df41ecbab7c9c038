"""Records of the results of cases, by which two runs can be compared."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.decode import decode, parse_message
from events.errors import EventError
from events.outcome import BackupAccepted, BackupCompleted, BackupFailed, OutcomeEvent, outcome_id
from tests.conformance.cases import Case

MAX_BYTES = 65_536


@dataclass(frozen=True)
class DistinctOutcome:
    """One distinct outcome, whose id is derived without the random backup id of the API.

    ``event_id`` is the event that a terminal outcome belongs to. ``backup.accepted`` belongs to the snapshot:
    it has the same id for every event that comes while the backup is in progress, and later events get none.
    """

    id: str
    type: str
    category: str | None
    event_id: str | None
    snapshot_id: str | None
    found: bool


@dataclass(frozen=True)
class Record:
    """The result of a case: distinct outcomes, dead letters (event id, category) and number of backups."""

    outcomes: frozenset[DistinctOutcome]
    dead: frozenset[tuple[str, str]]
    backups: int

    @property
    def types(self) -> Counter[str]:
        """The number of distinct outcomes by type and category."""
        return Counter(
            f"{each.type} {each.category}" if each.category else each.type for each in self.outcomes
        )


def event_ids(case: Case) -> set[str]:
    """Return the event ids that the outcomes of a case have as correlation ids."""
    found = set()
    for message in case.messages:
        original, *_ = parse_message(message, now=1.0)
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
    """Return the record of each case by its name.

    Args:
        cases: the cases of the run.
        outcomes: the bodies of all published outcome events.
        dead: the headers of all dead letters.
        backups: (project id, snapshot id) of every backup made, in order.

    """
    published: dict[str, list[OutcomeEvent]] = {}
    for body in outcomes:
        event = OutcomeEvent.model_validate_json(body)
        assert outcome_id(event.data) == event.id
        published.setdefault(event.correlationid, []).append(event)
    reasons: dict[str, set[tuple[str, str]]] = {}
    for headers in dead:
        reasons.setdefault(headers["dl-event-id"], set()).add(
            (headers["dl-event-id"], headers["dl-category"])
        )
    made: dict[str, int] = Counter(snapshot for _, snapshot in backups)
    result = {}
    for case in cases:
        ids = event_ids(case)
        events = [event for each in sorted(ids) for event in published.get(each, [])]
        snapshots = {event.subject for event in events if event.subject}
        result[case.name] = Record(
            frozenset(_distinct(event, events) for event in events),
            frozenset(reason for each in ids for reason in reasons.get(each, ())),
            sum(made.get(snapshot, 0) for snapshot in snapshots),
        )
    return result


def _distinct(event: OutcomeEvent, of_case: Sequence[OutcomeEvent]) -> DistinctOutcome:
    data = event.data
    found = any(
        isinstance(each.data, BackupAccepted) and each.data.found for each in of_case if each.id == event.id
    )
    return DistinctOutcome(
        id=_reproducible_id(event),
        type=event.type,
        category=data.error.category.value if isinstance(data, BackupFailed) else None,
        event_id=None if isinstance(data, BackupAccepted) else event.correlationid,
        snapshot_id=event.subject,
        found=found,
    )


def _reproducible_id(event: OutcomeEvent) -> str:
    """Return the outcome's id as if the API's backup id were ``the backup``."""
    data = event.data
    if isinstance(data, BackupAccepted | BackupCompleted):
        backup = data.backup.model_copy(update={"id": "the backup"})
        return outcome_id(data.model_copy(update={"backup": backup}))
    return event.id
