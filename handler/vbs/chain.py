"""The chain of a volume's incremental backups, by Cinder's own conditions (cinder/backup/api.py).

Cinder takes as the parent the available backup with the newest data, incremental or full. Up to 21.x it takes
the backup with the newest data, and refuses if that one is not available.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Literal

from handler.backup.ports import Backup, Chain
from handler.vbs.answers import plain

_IN_PROGRESS = frozenset({"creating", "restoring"})

_MISSING = (
    r"No backups available to do an incremental backup"
    r"|could not comply with the request since it is either malformed or otherwise incorrect"
)
"""Cinder's text, and the default text of its HTTP library: Cinder 29 gives that one instead (measured)."""

_BUSY = r"parent backup must be available for incremental backup"


def chain(backups: Iterable[Backup], volume_id: str) -> Chain:
    """Return the chain that an incremental backup of the volume would be added to."""
    own = [b for b in backups if b.volume_id is not None and plain(b.volume_id) == plain(volume_id)]
    usable = [b for b in own if b.status == "available" and b.detail.is_incremental is not None]
    newest_first = sorted(usable, key=_taken_at, reverse=True)
    length = 0
    for backup in newest_first:
        length += 1
        if not backup.detail.is_incremental:
            break
    size = newest_first[0].detail.size if newest_first else None
    return Chain(length, size, in_progress=any(b.status in _IN_PROGRESS for b in own))


def _taken_at(backup: Backup) -> str:
    return backup.detail.data_timestamp or backup.detail.created_at or ""


def parent_problem(status: int, message: str) -> Literal["missing", "busy"] | None:
    """Return what a refusal says of an incremental backup's parent, if it can be about the parent."""
    if status != HTTPStatus.BAD_REQUEST:
        return None
    if re.search(_BUSY, message, re.IGNORECASE):
        return "busy"
    return "missing" if re.search(_MISSING, message, re.IGNORECASE) else None
