"""The selection: which completed snapshots are skipped, and what the operator's rules set for the others.

A snapshot that the backup service made itself must never lead to a backup: each backup would make another.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from events.snapshot import SnapshotEvent
from handler.backup.patterns import matches
from handler.backup.running import MAX_RUNNING, Limit, group

if TYPE_CHECKING:
    from handler.backup.limits import GroupLimit
    from handler.backup.rules import Rule

SYSTEM_METADATA = "__system__enableActive"


class Selected(NamedTuple):
    """Why a snapshot is skipped (None: it is backed up), and what is set in its request.

    ``incremental_if_possible``: incremental if the volume has a backup to build on. Every ``full_every``-th
    backup of a volume is full even so.
    ``limits`` are those of backups in progress in which the snapshot's counts.
    """

    skip: str | None = None
    overrides: Mapping[str, Any] = MappingProxyType({})
    incremental_if_possible: bool = False
    full_every: int | None = None
    limits: Sequence[Limit] = ()


class Selection:
    """Selects by ``SKIP_SNAPSHOTS``, ``VBS_ALLOWED_PROJECTS`` and the rules of ``RULES_FILE``.

    ``max_running`` is ``MAX_RUNNING``, for each cloud; ``cloud_of`` names the cloud of a project.
    """

    def __init__(
        self,
        skip_snapshots: Sequence[str],
        allowed_projects: Sequence[str],
        rules: "Sequence[Rule]" = (),
        *,
        limits: "Sequence[GroupLimit]" = (),
        max_running: int | None = None,
        cloud_of: Callable[[str], str] = lambda _project_id: "",
    ) -> None:
        self._patterns = tuple(skip_snapshots)
        self._allowed = frozenset(allowed_projects)
        self._rules = tuple(rules)
        self._limits = tuple(limits)
        self._max_running = max_running
        self._cloud_of = cloud_of

    def select(self, event: SnapshotEvent, project_id: str, *, shown: bool = True) -> Selected:
        """Return the selection for one snapshot.

        Unless ``shown``, the API may know more of the snapshot than the event: then a rule counts only if
        none before it may match by what the API shows.
        """
        selected = self._select(event, project_id, shown=shown)
        return selected if selected.skip else selected._replace(limits=self._limits_of(event, project_id))

    def _select(self, event: SnapshotEvent, project_id: str, *, shown: bool) -> Selected:
        if reason := self._reason_to_skip(event, project_id):
            return Selected(skip=reason)
        rule = self._rule(event, project_id, shown=shown)
        if rule is None or rule.set is None:
            return Selected(skip=rule.skip if rule else None)
        overrides, own = rule.set.overrides(event.snapshot), event.snapshot.backup
        if own is not None and own.incremental is not None:
            return Selected(overrides={**overrides, "incremental": own.incremental})
        auto = rule.set.incremental == "auto"
        return Selected(None, overrides, incremental_if_possible=auto, full_every=rule.set.full_every)

    def _rule(self, event: SnapshotEvent, project_id: str, *, shown: bool) -> "Rule | None":
        for rule in self._rules:
            if rule.match.fits(event, project_id):
                return rule
            if not shown and rule.match.fits_ids(event, project_id):
                return None
        return None

    def _limits_of(self, event: SnapshotEvent, project_id: str) -> Sequence[Limit]:
        """Return the limits in which the snapshot's backup counts."""
        found = [each.of(event, project_id) for each in self._limits if each.match.fits(event, project_id)]
        if self._max_running is None:
            return found
        return [Limit(group(MAX_RUNNING, self._cloud_of(project_id)), self._max_running), *found]

    def _reason_to_skip(self, event: SnapshotEvent, project_id: str) -> str | None:
        if self._allowed and project_id not in self._allowed:
            return f"project {project_id} is not in VBS_ALLOWED_PROJECTS"
        name = event.snapshot.snapshot_name or ""
        for pattern in self._patterns:
            if matches(name, pattern):
                return f"the snapshot's name matches {pattern} of SKIP_SNAPSHOTS"
        if SYSTEM_METADATA in event.metadata:
            return f"the snapshot carries {SYSTEM_METADATA}: it was made by the backup service itself"
        return None
