"""Where a snapshot stands, by what the ledger has about it. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from handler.ledger.inquiry import SnapshotRecord, WaitingRecord
from handler.ledger.row import Row


class Standing(NamedTuple):
    """A snapshot's state in one word, whether it is backed up, and what is known besides.

    ``backed_up`` is None where the ledger knows nothing of the snapshot, not even a waiting message.
    """

    snapshot_id: str
    project_id: str | None
    state: str
    backed_up: bool | None
    row: Row | None = None
    waiting: Sequence[WaitingRecord] = ()


def standing(record: SnapshotRecord, *, tracked: bool) -> Standing:
    """Tell where a snapshot stands. If backups are not ``tracked``, an accepted one counts as backed up."""
    key, row = record.key, record.row
    state = "waiting" if row is None else row.standing
    backed_up = state == "completed" or (state == "accepted" and not tracked)
    return Standing(key.snapshot_id, key.project_id or None, state, backed_up, row, record.waiting)


def unknown(snapshot_id: str, project_id: str | None) -> Standing:
    """Return the standing of a snapshot that the ledger does not know."""
    return Standing(snapshot_id, project_id, "unknown", None)


def document(standing: Standing) -> Mapping[str, Any]:
    """Return it for ``--json``: the same fields for every state, null where there is nothing."""
    row = standing.row or Row()
    completed = row.end.backup if row.end else None
    backup = completed or row.backup
    return {
        "snapshot_id": standing.snapshot_id,
        "project_id": standing.project_id,
        "state": standing.state,
        "backed_up": standing.backed_up,
        "changed_at": _time(row.updated_at),
        "backup": backup.model_dump(mode="json", exclude={"links"}) if backup else None,
        "accepted_at": _time(row.made_at),
        "seconds": row.end.seconds if row.end and completed else None,
        "in_doubt": row.doubt
        and {
            "since": _time(row.doubt.since),
            "lookups": row.doubt.lookups,
            "next_lookup": _time(row.doubt.lookup_after),
        },
        "failures": [
            {"event_id": cause, "attempts": end.attempts, **(end.failure.model_dump(mode="json"))}
            for cause, end in row.failures.items()
            if end.failure
        ],
        "failed_backups": list(row.failed_backups),
        "waiting": [waiting_document(each) for each in standing.waiting],
    }


def waiting_document(record: WaitingRecord) -> Mapping[str, Any]:
    """Return a waiting message for ``--json``."""
    return {
        "due": _time(record.due_at),
        "reason": record.reason,
        "waits": record.waits,
        "since": _time(record.recorded_at),
        "taken_up": record.swept,
        "project_id": record.project_id,
        "snapshot_id": record.snapshot_id,
    }


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
