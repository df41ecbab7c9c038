"""Which dead letters are meant: the filters of all commands."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from handler.dead_letters.dead_letter import DeadLetter

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters; one with several values takes any of them, an empty one takes all. Times are of the death."""

    ids: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Tell whether a dead letter is meant. One without a time of death is in no span of time."""
        # Cheapest first, and nothing is read that no filter asks for: most messages are but passed over.
        return (
            (not self.categories or dead_letter.category in self.categories)
            and (not self.codes or dead_letter.code in self.codes)
            and self._in_time(dead_letter)
            and (not self.projects or dead_letter.project_id in self.projects)
            and (not self.snapshots or dead_letter.snapshot_id in self.snapshots)
            and (not self.ids or dead_letter.id in self.ids)
        )

    def _in_time(self, dead_letter: DeadLetter) -> bool:
        if self.since is None and self.until is None:
            return True
        if (dead_at := dead_letter.dead_at) is None:
            return False
        return (self.since is None or self.since <= dead_at) and (self.until is None or dead_at < self.until)


def moment(text: str, *, now: datetime) -> datetime:
    """Read ``2026-11-23T22:00`` (UTC unless it says otherwise), or ``90m`` for so long ago.

    Raises:
        ValueError: it is neither.

    """
    if ago := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: give 2026-11-23T22:00, or 90m, 12h, 3d for so long ago"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
