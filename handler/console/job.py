"""One act on the dead letters that takes a while, and its progress."""

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from handler.console.times import iso
from handler.dead_letters.replay_outcomes import ReplayOutcomes
from handler.dead_letters.replaying import Replay

DONE = "done"
"""The end of a job that has done all that it was to do."""

State = Literal["running", "ended", "failed"]
Kind = Literal["replay", "drop", "undo"]


@dataclass
class Job:
    """One replay, drop, or undo of a drop. Times are seconds since the epoch."""

    kind: Kind
    who: str
    what: str
    began: float
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    state: State = "running"
    ended: float | None = None
    end: str = "running"
    done: int = 0
    wanted: int | None = None
    there: int = 0
    file: Path | None = None
    undo_of: str | None = None
    undone_by: "Job | None" = None
    replay: Replay | None = None
    outcomes: ReplayOutcomes | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """How many dead letters it has sent back, removed or put back."""
        return self.replay.sent if self.replay else self.done

    @property
    def exported(self) -> Path | None:
        """The file of the dead letters that were dropped; also of a drop that was broken off."""
        return self.file if self.file and self.file.exists() and self.file.stat().st_size else None

    @property
    def can_be_undone(self) -> bool:
        """Whether something was dropped that no undo has put back, or is putting back."""
        undo = self.undone_by
        undone = undo is not None and (undo.state == "running" or undo.end == DONE)
        return self.kind == "drop" and self.state != "running" and self.exported is not None and not undone

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "who": self.who,
            "what": self.what,
            "began": iso(self.began),
            "ended": iso(self.ended),
            "state": self.state,
            "end": self.end,
            "done": self.count,
            "wanted": self.wanted,
            "accepted": self.outcomes.accepted if self.outcomes else 0,
            "completed": self.outcomes.completed if self.outcomes else 0,
            "failed_again": self.outcomes.failed if self.outcomes else 0,
            "already_there": self.there,
            "file": self.exported.name if self.exported else None,
            "undo_of": self.undo_of,
            "undone_by": self.undone_by.id if self.undone_by else None,
        }
