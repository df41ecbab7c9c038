"""One example of each event, made by the code that makes the real events; used in the published schemas."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from events.outcome import (
    AcceptedBackup,
    BackupAccepted,
    BackupCompleted,
    BackupFailed,
    BackupLink,
    BackupSkipped,
    Category,
    Cause,
    CompletedBackup,
    Failure,
    OutcomeData,
    outcome,
    probe,
)

_NOW = datetime(2026, 3, 4, 2, 15, 12, tzinfo=UTC)
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_BACKUP_ID = "6c1f0b7a-93d4-4e55-a2b8-0d7e4f9c1a26"
_BACKUP_NAME = "nightly-db01-b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8"

SNAPSHOT_DATA: Final[dict[str, Any]] = {
    "project_id": "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5",
    "volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
    "snapshot_id": "b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
    "snapshot_name": "nightly-db01",
    "size_gb": 40,
    "backup": {"description": "before the monthly update", "incremental": True},
}

SNAPSHOT_EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "5d0f6c1e-7a51-4f0e-8a38-1f2e3d4c5b6a",
    "source": "/storage/az-b",
    "type": "snapshot.completed",
    "subject": SNAPSHOT_DATA["snapshot_id"],
    "time": "2026-03-04T02:15:09Z",
    "datacontenttype": "application/json",
    "traceparent": _TRACE,
    "data": SNAPSHOT_DATA,
}

_WHAT: Final[dict[str, Any]] = {
    "project_id": SNAPSHOT_DATA["project_id"],
    "volume_id": SNAPSHOT_DATA["volume_id"],
    "snapshot_id": SNAPSHOT_DATA["snapshot_id"],
    "cause": Cause(id=SNAPSHOT_EVENT["id"], source=SNAPSHOT_EVENT["source"], type=SNAPSHOT_EVENT["type"]),
    "attempts": 1,
}

_OUTCOMES: Final[tuple[OutcomeData, ...]] = (
    BackupAccepted(
        **_WHAT,
        backup=AcceptedBackup(
            id=_BACKUP_ID,
            name=_BACKUP_NAME,
            links=(
                BackupLink(
                    href=f"https://vbs.example.com/v2/{_WHAT['project_id']}/backups/{_BACKUP_ID}", rel="self"
                ),
            ),
        ),
        found=False,
    ),
    BackupCompleted(
        **_WHAT,
        backup=CompletedBackup(id=_BACKUP_ID, name=_BACKUP_NAME, status="available", size=40),
        seconds=812.5,
    ),
    BackupFailed(
        **_WHAT,
        error=Failure(
            category=Category.QUOTA,
            status=413,
            code="overLimit",
            message="BackupLimitExceeded: Maximum number of backups allowed (10) exceeded",
            request_id="req-5c1d7a52-7b7e-4b57-9d0c-0a4f6f3f2b11",
        ),
        dead_lettered=True,
    ),
    BackupSkipped(**_WHAT, reason="made by the backup service itself: autobk_snapshot_*"),
)

OUTCOME_EVENTS: Final[dict[str, dict[str, Any]]] = {
    event.type: json.loads(event.body)
    for event in (outcome(data, traceparent=_TRACE, now=_NOW) for data in _OUTCOMES)
}

PROBE_EVENT: Final[dict[str, Any]] = json.loads(probe(_NOW))

DEAD_LETTER_HEADERS: Final[dict[str, Any]] = {
    "dl-category": "quota",
    "dl-code": "overLimit",
    "dl-status": 413,
    "dl-message": "BackupLimitExceeded: Maximum number of backups allowed (10) exceeded",
    "dl-attempts": 1,
    "dl-event-id": SNAPSHOT_EVENT["id"],
    "dl-project-id": SNAPSHOT_DATA["project_id"],
    "dl-volume-id": SNAPSHOT_DATA["volume_id"],
    "dl-snapshot-id": SNAPSHOT_DATA["snapshot_id"],
    "dl-first-seen": "2026-03-04T02:15:10+00:00",
    "dl-dead-at": "2026-03-04T02:15:12+00:00",
    "dl-source-queue": "snapshot-backup",
}
