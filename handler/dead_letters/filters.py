"""The filters that select dead letters, shared by all commands."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from handler.dead_letters.dead_letter import CATEGORIES, UNKNOWN, DeadLetter

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Filters:
    """Selects dead letters by their properties.

    A filter with several values matches any of them; an empty filter matches all. ``since`` and ``until``
    compare the time of dead-lettering. None among the codes matches a dead letter without one.
    """

    ids: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    codes: frozenset[str | None] = frozenset()
    projects: frozenset[str] = frozenset()
    snapshots: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Return whether a dead letter matches; one without a time never matches ``since`` or ``until``."""
        # The cheapest comparison comes first: most messages do not match, and are read no further.
        return (
            (not self.categories or self._of_category(dead_letter))
            and (not self.codes or dead_letter.code in self.codes)
            and self._in_time(dead_letter)
            and (not self.projects or dead_letter.project_id in self.projects)
            and (not self.snapshots or dead_letter.snapshot_id in self.snapshots)
            and (not self.volumes or dead_letter.volume_id in self.volumes)
            and (not self.events or dead_letter.event_id in self.events)
            and (not self.ids or dead_letter.id in self.ids)
        )

    def _of_category(self, dead_letter: DeadLetter) -> bool:
        """Return whether the category matches; ``unknown`` matches also those that other programs invent."""
        category = dead_letter.category
        return category in self.categories or (UNKNOWN in self.categories and category not in CATEGORIES)

    def _in_time(self, dead_letter: DeadLetter) -> bool:
        if self.since is None and self.until is None:
            return True
        if (dead_at := dead_letter.dead_at) is None:
            return False
        return (self.since is None or self.since <= dead_at) and (self.until is None or dead_at < self.until)


def moment(text: str, *, now: datetime) -> datetime:
    """Parse a time such as ``2026-11-23T22:00`` (UTC without a zone), or an age such as ``90m``.

    Raises:
        ValueError: the text is neither a time nor an age.

    """
    try:
        if ago := _AGO.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time; give a time such as 2026-11-23T22:00, or an age such as 90m, 12h or 3d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class WrongPeriod(ValueError):
    """Nothing can be between two times. ``end`` says which of them is wrong."""

    def __init__(self, end: Literal["since", "until"], problem: str) -> None:
        super().__init__(f"{end}: {problem}")
        self.end = end
        self.problem = problem


def period(since: str | None, until: str | None, *, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Parse two times, as ``moment`` does; None is no bound. ``until`` may be in the future.

    Raises:
        ValueError: a text is neither a time nor an age.
        WrongPeriod: nothing can be between them.

    """
    begin, end = (moment(text, now=now) if text else None for text in (since, until))
    if begin and begin > now:
        raise WrongPeriod(
            "since",
            f"{since} is in the future: it is {now.astimezone(UTC):%Y-%m-%dT%H:%M} UTC; "
            "give an earlier time, one with its zone such as 2026-11-23T22:00+02:00, or an age such as 12h",
        )
    if begin and end and begin >= end:
        raise WrongPeriod("until", f"{until} is not later than since ({since})")
    return begin, end
