"""Which completed snapshots are deliberately left alone.

Snapshots that the backup service makes itself must never lead to a backup: each backup would make another.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from events.snapshot import SnapshotEvent

SYSTEM_METADATA = "__system__enableActive"


class Chooser:
    """Says why a snapshot is skipped, by the settings ``SKIP_SNAPSHOTS`` and ``VBS_ALLOWED_PROJECTS``."""

    def __init__(self, skip_snapshots: Sequence[str], allowed_projects: Sequence[str]) -> None:
        self._patterns = tuple(skip_snapshots)
        self._allowed = frozenset(allowed_projects)

    def reason_to_skip(self, event: SnapshotEvent, project_id: str) -> str | None:
        """Return the reason, or None where the snapshot is to be backed up."""
        if self._allowed and project_id not in self._allowed:
            return f"project {project_id} is not in VBS_ALLOWED_PROJECTS"
        name = event.snapshot.snapshot_name or ""
        for pattern in self._patterns:
            if fnmatchcase(name, pattern):
                return f"the snapshot's name matches {pattern} of SKIP_SNAPSHOTS"
        if SYSTEM_METADATA in event.metadata:
            return f"the snapshot carries {SYSTEM_METADATA}: it was made by the backup service itself"
        return None
