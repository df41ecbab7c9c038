"""Conformance cases of ``incremental = "auto"``, for volumes that have a backup already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.conformance.cases import Case, event, failed, own_id, project

RULES = """
[[rule]]
match = { snapshot_name = "second-*" }
set = { incremental = "auto", full_every = 1 }

[[rule]]
set = { incremental = "auto", full_every = 9, metadata = { policy = "gold" }, availability_zone = "az-2" }
"""

MISSING = "Invalid backup: No backups available to do an incremental backup."
BUSY = "Invalid backup: The parent backup must be available for incremental backup."
VAGUE = "The server could not comply with the request since it is either malformed or otherwise incorrect."


@dataclass(frozen=True)
class IncrementalCase(Case):
    """A case whose volume has one earlier backup; ``incremental`` is that of the backup that is made."""

    incremental: bool | None = None

    @property
    def earlier(self) -> Mapping[str, str]:
        """The ids of the earlier backup."""
        return {
            "project_id": project(self.name),
            "volume_id": own_id(self.name, "volume 0"),
            "snapshot_id": own_id(self.name, "earlier snapshot"),
        }


def _refusal(message: str, **fault: Any) -> dict[str, Any]:
    body = {"badRequest": {"code": 400, "message": message}}
    return {"route": "create", "effect": "status", "status": 400, "body": body, "times": 1, **fault}


def _case(name: str, *faults: Mapping[str, Any], incremental: bool | None, **fields: Any) -> IncrementalCase:
    return IncrementalCase(name, [event(name, **fields)], faults=faults, incremental=incremental)


_LOST = {"route": "create", "effect": "drop_after", "times": 1}

INCREMENTAL_CASES = [
    _case("an incremental backup", incremental=True),
    _case("each first backup is full", incremental=False, snapshot_name="second-1"),
    _case("the event says full", incremental=False, backup={"incremental": False}),
    _case("the event says incremental", incremental=True, backup={"incremental": True}),
    _case("the volume has grown", incremental=False, size_gb=2),
    _case("no parent", _refusal(MISSING), incremental=False),
    _case("no parent, said vaguely", _refusal(VAGUE), incremental=False),
    _case("a parent that stays unavailable", _refusal(BUSY), incremental=False),
    _case(
        "no parent, and no answer",
        _refusal(MISSING),
        _LOST,
        incremental=False,
    ),
    _case("made, and refused on the way", _refusal(MISSING, effect="garbage"), incremental=True),
    _case("made, and refused vaguely on the way", _refusal(VAGUE, effect="garbage"), incremental=True),
    IncrementalCase(
        "a full backup is refused as well",
        [event("a full backup is refused as well")],
        [failed("refused")],
        backups=0,
        faults=[_refusal(VAGUE, times=2)],
        dead=["refused"],
    ),
    IncrementalCase(
        "the event says incremental, and there is no parent",
        [event("the event says incremental, and there is no parent", backup={"incremental": True})],
        [failed("refused")],
        backups=0,
        faults=[_refusal(MISSING)],
        dead=["refused"],
    ),
]
