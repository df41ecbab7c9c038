"""The chain of a volume's incremental backups, and Cinder's texts about a parent."""

import json

import pytest

from events.outcome import CompletedBackup
from handler.backup.ports import Backup, Chain
from handler.vbs.chain import chain
from handler.vbs.faults import create_error
from tests.unit.vbs.world import SNAPSHOT, VOLUME

OTHER_VOLUME = "1e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b41"
DEFAULT_TEXT = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect."
)
MISSING = "Invalid backup: No backups available to do an incremental backup."
BUSY = "Invalid backup: The parent backup must be available for incremental backup."


def backup(
    day: int, *, incremental: bool | None = False, status: str = "available", volume: str = VOLUME
) -> Backup:
    """Return a backup of a snapshot of this day; the day is its size too."""
    detail = CompletedBackup(
        id=f"00000000-0000-4000-8000-{day:012d}",
        status=status,
        size=day,
        is_incremental=incremental,
        created_at="2026-11-30T00:00:00.000000Z",
        data_timestamp=f"2026-11-{day:02d}T00:00:00.000000Z",
    )
    return Backup(detail, SNAPSHOT, volume)


def later(*days: int) -> list[Backup]:
    """Return incremental backups of these days."""
    return [backup(day, incremental=True) for day in days]


@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ([], Chain()),
        ([backup(1)], Chain(1, 1)),
        ([*later(3, 2), backup(1)], Chain(3, 3)),
        ([backup(1), *later(2, 3), backup(4), *later(5)], Chain(2, 5)),
        (later(2, 3), Chain(2, 3)),
        ([backup(1), backup(2, status="error")], Chain(1, 1)),
        ([backup(1), backup(2, status="creating")], Chain(1, 1, in_progress=True)),
        ([backup(1, status="restoring")], Chain(in_progress=True)),
        ([backup(1, status="deleting")], Chain()),
        ([backup(1, volume=OTHER_VOLUME)], Chain()),
        ([backup(1, volume=VOLUME.replace("-", ""))], Chain(1, 1)),
        ([backup(1, incremental=None)], Chain()),
    ],
)
def test_the_chain_ends_in_the_available_backup_with_the_newest_data(
    backups: list[Backup], expected: Chain
) -> None:
    """The chain has the last full backup and what is available after it, whatever the list's order."""
    assert expected == chain(backups, VOLUME) == chain(reversed(backups), VOLUME)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, MISSING, "missing"),
        (400, DEFAULT_TEXT, "missing"),
        (400, BUSY, "busy"),
        (400, "Invalid snapshot: Snapshot to be backed up must be available", None),
        (500, MISSING, None),
    ],
)
def test_a_refusal_says_what_the_parent_lacks(status: int, message: str, expected: str | None) -> None:
    """Cinder's texts, and the default text that Cinder 29 gives in their place, are about the parent."""
    body = json.dumps({"badRequest": {"code": status, "message": message}}).encode()
    assert expected == create_error(status, {}, body).parent


def test_a_proxys_words_say_nothing_about_a_parent() -> None:
    """The text counts only in the API's own form."""
    assert create_error(400, {}, json.dumps({"message": MISSING}).encode()).parent is None
