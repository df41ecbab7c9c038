"""Where a snapshot stands, by what the ledger has about it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from handler.console import timeline
from handler.console.times import iso
from handler.ledger.inquiry import SnapshotRecord, WaitingRecord
from handler.ledger.journal import Entry
from handler.ledger.row import UNSETTLED, Row


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
    journal: Sequence[Entry] = ()

    @property
    def message(self) -> str:
        """Where the snapshot's message is now, as far as the ledger knows, in one word.

        ``waiting``: in a wait queue, or due. ``in hand``: a worker handles it. ``queue``: in the queue, or
        lost; then the sweep takes it up. ``dead letters``: its event failed. ``none``: its event has ended
        otherwise. ``unknown``: the ledger knows nothing.
        """
        if self.waiting:
            return "waiting"
        if self.row is None:
            return "unknown"
        if self.state == "claimed":
            return "in hand"
        if self.state in UNSETTLED or self.state == "open":
            return "queue"
        return "dead letters" if self.state == "failed" else "none"


def standing(record: SnapshotRecord, *, tracked: bool) -> Standing:
    """Tell where a snapshot stands. If backups are not ``tracked``, an accepted one counts as backed up."""
    key, row = record.key, record.row
    state = "waiting" if row is None else row.standing
    backed_up = state == "completed" or (state == "accepted" and not tracked)
    known = (row, record.waiting, record.journal)
    return Standing(key.snapshot_id, key.project_id or None, state, backed_up, *known)


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
        "changed_at": iso(row.updated_at),
        "backup": backup.model_dump(mode="json", exclude={"links"}) if backup else None,
        "accepted_at": iso(row.made_at),
        "seconds": row.end.seconds if row.end and completed else None,
        "in_doubt": row.doubt
        and {
            "since": iso(row.doubt.since),
            "lookups": row.doubt.lookups,
            "next_lookup": iso(row.doubt.lookup_after),
        },
        "failures": [
            {"event_id": cause, "attempts": end.attempts, **(end.failure.model_dump(mode="json"))}
            for cause, end in row.failures.items()
            if end.failure
        ],
        "failed_backups": list(row.failed_backups),
        "message": standing.message,
        "claimed_until": iso(row.lease_until),
        "waiting": [waiting_document(each) for each in standing.waiting],
        "timeline": [timeline.document(step) for step in timeline.timeline(standing.journal)],
    }


def waiting_document(record: WaitingRecord) -> Mapping[str, Any]:
    """Return a waiting message for ``--json``."""
    return {
        "due": iso(record.due_at),
        "reason": record.reason,
        "waits": record.waits,
        "since": iso(record.recorded_at),
        "taken_up": record.swept,
        "project_id": record.project_id,
        "snapshot_id": record.snapshot_id,
    }
