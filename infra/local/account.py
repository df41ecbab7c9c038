"""The account of a run: each event that was sent, and its outcomes.

It counts events, not messages: neither a second copy of an event nor a notification of something else adds to
`sent`, since neither has an outcome of its own. So `completed + failed + skipped` equals `sent`.
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
    """An event that was sent in `copies` messages, and the number of its terminal outcomes."""

    what: str
    form: str
    copies: int = 0
    accepted: bool = False
    terminal_outcomes: int = 0
    ends: dict[str, End] = field(default_factory=dict)
    """Outcome id → how the event ended; a correct event has one."""

    @property
    def end(self) -> End | None:
        """How the event ended; None until then."""
        return next(iter(self.ends.values()), None)

    @property
    def is_settled(self) -> bool:
        """Whether a terminal outcome was published for each of its messages."""
        return self.terminal_outcomes >= self.copies


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts that `--json` prints: `backups` at the API, `dead` and `waiting` messages, else events."""

    sent: int
    backups: int
    accepted: int
    completed: int
    failed: int
    skipped: int
    dead: int
    waiting: int


class Account:
    """All events of a run, by the id that their outcomes have as `correlationid`."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.messages = 0
        self.ignored_sent = 0
        self.ignored = 0
        self.dead_lettered = 0
        self._unsettled: set[str] = set()
        self._counts: Counter[str] = Counter()

    @property
    def copies(self) -> int:
        """Number of messages that were second copies."""
        return self.messages - self.ignored_sent - len(self.entries)

    def send(self, sample: Sample) -> None:
        """Count a message that is about to be sent."""
        self.messages += 1
        if sample.event_id is None:
            self.ignored_sent += 1
            return
        entry = self.entries.setdefault(sample.event_id, Entry(sample.what, sample.form))
        entry.copies += 1
        self._unsettled.add(sample.event_id)

    def add_outcome(self, outcome: Mapping[str, Any]) -> Entry | None:
        """Count an outcome and return its event's entry; None if this run did not send the event."""
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
        entry.terminal_outcomes += 1
        self.dead_lettered += bool(outcome["data"].get("dead_lettered"))
        if entry.is_settled:
            self._unsettled.discard(event_id)

    def count(self, name: str) -> int:
        """Return how many events were `accepted`, `completed`, `failed` or `skipped` so far."""
        return self._counts[name]

    @property
    def ended(self) -> int:
        """Number of events that have a terminal outcome."""
        return sum(self._counts[end] for end in ENDS.values())

    @property
    def is_settled(self) -> bool:
        """Whether each message that was sent has a terminal outcome, or was ignored."""
        return not self._unsettled and self.ignored >= self.ignored_sent

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each event without an outcome, or with several."""
        for entry in self.entries.values():
            if not entry.ends:
                yield f"{entry.what} ({entry.form}): no outcome"
            elif len(entry.ends) > 1:
                yield f"{entry.what} ({entry.form}): several outcomes ({', '.join(entry.ends.values())})"
        if self.ignored < self.ignored_sent:
            yield f"{self.ignored_sent} other notifications were sent, but only {self.ignored} ignored"

    def summary(self, *, backups: int, dead: int, waiting: int) -> Summary:
        """Return the counts."""
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
