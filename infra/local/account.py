"""The account of a run: what was sent, and what became of each.

Events are counted, not messages: a second copy of an event adds nothing to `sent`, nor does a notification of
something else, since neither has an outcome of its own. So `completed + failed + skipped` comes to `sent`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from infra.local.samples import Sample

End = Literal["completed", "failed", "skipped"]
ENDS: Final[Mapping[str, End]] = {
    "backup.completed": "completed",
    "backup.failed": "failed",
    "backup.skipped": "skipped",
}
ACCEPTED: Final = "backup.accepted"


@dataclass(slots=True)
class Entry:
    """An event that was sent in `copies` messages; `tellings` counts the ends that were told of it."""

    what: str
    form: str
    copies: int = 0
    accepted: bool = False
    tellings: int = 0
    ends: dict[str, End] = field(default_factory=dict)
    """Outcome id → how it ended; one event has one."""

    @property
    def end(self) -> End | None:
        """How it ended, if it has."""
        return next(iter(self.ends.values()), None)

    @property
    def is_told(self) -> bool:
        """Whether each of its messages has been told of."""
        return self.tellings >= self.copies


@dataclass(frozen=True, slots=True)
class Summary:
    """What `--json` prints: events but for `backups` (at the API), `dead` and `waiting` (messages)."""

    sent: int
    backups: int
    accepted: int
    completed: int
    failed: int
    skipped: int
    dead: int
    waiting: int


class Account:
    """Knows each event by the id that its outcomes carry as `correlationid`."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.messages = 0
        self.ignored_sent = 0
        self.ignored = 0
        self.dead_tellings = 0
        self._untold: set[str] = set()
        self._counts: Counter[str] = Counter()

    @property
    def copies(self) -> int:
        """How many messages were second copies."""
        return self.messages - self.ignored_sent - len(self.entries)

    def send(self, sample: Sample) -> None:
        """Note a message that is about to be sent."""
        self.messages += 1
        if sample.event_id is None:
            self.ignored_sent += 1
            return
        entry = self.entries.setdefault(sample.event_id, Entry(sample.what, sample.form))
        entry.copies += 1
        self._untold.add(sample.event_id)

    def told(self, outcome: Mapping[str, Any]) -> Entry | None:
        """Note an outcome; None where it is of an event that somebody else has sent."""
        event_id, type_ = outcome["correlationid"], outcome["type"]
        entry = self.entries.get(event_id)
        if entry is None:
            return None
        if type_ == ACCEPTED:
            self._counts["accepted"] += not entry.accepted
            entry.accepted = True
        elif type_ in ENDS:
            self._ended(event_id, entry, outcome)
        return entry

    def _ended(self, event_id: str, entry: Entry, outcome: Mapping[str, Any]) -> None:
        end = ENDS[outcome["type"]]
        if not entry.ends:
            self._counts[end] += 1
        entry.ends[outcome["id"]] = end
        entry.tellings += 1
        self.dead_tellings += bool(outcome["data"].get("dead_lettered"))
        if entry.is_told:
            self._untold.discard(event_id)

    def count(self, name: str) -> int:
        """How many events were `accepted`, `completed`, `failed` or `skipped` so far."""
        return self._counts[name]

    @property
    def ended(self) -> int:
        """How many events have come to their end."""
        return sum(self._counts[end] for end in ENDS.values())

    @property
    def is_settled(self) -> bool:
        """Whether every message that was sent has been told of, or ignored."""
        return not self._untold and self.ignored >= self.ignored_sent

    def problems(self) -> Iterator[str]:
        """Say of each event that is unaccounted for what is wrong."""
        for entry in self.entries.values():
            if not entry.ends:
                yield f"{entry.what} ({entry.form}): no outcome"
            elif len(entry.ends) > 1:
                yield f"{entry.what} ({entry.form}): several ends ({', '.join(entry.ends.values())})"
        if self.ignored < self.ignored_sent:
            yield f"of {self.ignored_sent} other notifications only {self.ignored} were ignored"

    def summary(self, *, backups: int, dead: int, waiting: int) -> Summary:
        """Give the figures."""
        return Summary(
            sent=len(self.entries),
            backups=backups,
            accepted=self.count("accepted"),
            completed=self.count("completed"),
            failed=self.count("failed"),
            skipped=self.count("skipped"),
            dead=dead,
            waiting=waiting,
        )
