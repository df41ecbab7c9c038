"""Asks the ledger and the API for the current state of a dead letter's snapshot."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from events.decode import decode
from events.errors import EventError
from events.snapshot import SnapshotEvent
from handler.backup.ports import Api, Key
from handler.backup.request import BackupRequest, backup_request
from handler.dead_letters.dead_letter import DeadLetter
from handler.errors import ApiError, LedgerUnavailable
from handler.ledger.ledger import StoredLedger
from handler.ledger.row import Row

_ROW = TypeAdapter(Row)
_TIMES = frozenset({"lease_until", "made_at", "updated_at"})
_MAX_BYTES = 16 * 1024 * 1024

Answer = Mapping[str, Any] | str
"""The state as JSON, or a sentence that says why there is none."""


async def ask_ledger(ledger: StoredLedger, dead_letter: DeadLetter) -> Answer:
    """Return the snapshot's row in the ledger, with times in ISO 8601 and without the lease's token."""
    if not (dead_letter.project_id and dead_letter.snapshot_id):
        return "not asked: the dead letter names no project, or no snapshot"
    try:
        row = await ledger.look_up(Key(dead_letter.project_id, dead_letter.snapshot_id))
    except LedgerUnavailable as error:
        return f"not known: {error}"
    if row is None:
        return "no entry for this snapshot"
    facts = _ROW.dump_python(row, mode="json", exclude={"token", "state"}, exclude_defaults=True)
    for name in _TIMES.intersection(facts):
        facts[name] = datetime.fromtimestamp(facts[name], UTC).isoformat(timespec="seconds")
    return {"state": row.label, **facts}


async def ask_api(api: Api, dead_letter: DeadLetter) -> Answer:
    """Return the snapshot's status and its backups, found by the same calls that a worker makes."""
    request = _request(dead_letter)
    if request is None or not dead_letter.project_id:
        return "not asked: the dead letter is not an event that names project, volume and snapshot"
    try:
        snapshot = await api.show_snapshot(dead_letter.project_id, request.snapshot_id)
        found = await api.find(dead_letter.project_id, request.volume_id, request.snapshot_id, request.name)
    except ApiError as error:
        return f"not known: {error}"
    backups = [backup.detail.model_dump(exclude_none=True) for backup in found]
    return {"snapshot": snapshot.status if snapshot else "not found", "backups": backups}


def _request(dead_letter: DeadLetter) -> BackupRequest | None:
    try:
        event = decode(dead_letter.original(), max_bytes=_MAX_BYTES)
        return backup_request(event.snapshot) if isinstance(event, SnapshotEvent) else None
    except (EventError, ValidationError):
        return None
