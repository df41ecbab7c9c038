"""Dead letters counted by category and code."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from handler.dead_letters.dead_letter import DeadLetter


@dataclass(slots=True)
class Group:
    """The dead letters of one category and code: their number, and the oldest and newest time."""

    category: str
    code: str | None
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, dead_letter: DeadLetter) -> None:
        """Count a dead letter."""
        self.count += 1
        if dead_letter.dead_at is not None:
            self.oldest = min(self.oldest or dead_letter.dead_at, dead_letter.dead_at)
            self.newest = max(self.newest or dead_letter.dead_at, dead_letter.dead_at)


class Groups:
    """All groups. Their number depends on the kinds of errors, not on the number of messages."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str | None], Group] = {}
        self.total = 0

    def add(self, dead_letter: DeadLetter) -> None:
        """Count a dead letter in its group."""
        self.total += 1
        key = (dead_letter.category, dead_letter.code)
        self._groups.setdefault(key, Group(*key)).add(dead_letter)

    def __iter__(self) -> Iterator[Group]:
        """Yield the groups, the largest first."""
        return iter(sorted(self._groups.values(), key=lambda group: -group.count))
