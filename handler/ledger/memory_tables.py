"""What a ledger in memory holds: what is in the tables of a database, and in the same names."""

from collections import Counter
from dataclasses import dataclass, field

from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.backup.workers import WorkerRecord
from handler.ledger.audit import Act
from handler.ledger.control import Entry, Taken, WaitingChoice
from handler.ledger.inquiry import WaitingRecord
from handler.ledger.journal import MOST_CHARACTERS
from handler.ledger.ledger import new_state_key
from handler.ledger.row import Row, Slot


@dataclass
class Record:
    """A recorded message, when it is due, and when a sweep may take it."""

    waiting: Waiting
    recorded_at: float
    due_at: float
    sweep_at: float
    journal: str
    swept: int = 0

    @property
    def key(self) -> Key:
        """The snapshot that the message is about, as far as it names one."""
        return Key(self.waiting.project_id or "", self.waiting.snapshot_id or "")

    def shown(self) -> WaitingRecord:
        """Return it for the operator."""
        waiting = self.waiting
        about = (waiting.project_id, waiting.snapshot_id, waiting.reason, waiting.waits)
        return WaitingRecord(*about, self.recorded_at, self.due_at, self.swept)

    def is_of(self, choice: WaitingChoice) -> bool:
        """Return whether the choice is of this message."""
        waiting = self.waiting
        return (
            self.recorded_at <= choice.recorded_by
            and choice.project in (None, waiting.project_id)
            and choice.reason in (None, waiting.reason)
            and choice.snapshot in (None, waiting.snapshot_id)
        )

    def taken(self) -> Taken:
        """Return it to be brought back."""
        waiting = self.waiting
        about = (waiting.project_id, waiting.snapshot_id)
        return Taken(waiting.id, waiting.body, waiting.waits, self.due_at, *about)


@dataclass
class Tables:
    """The rows and all beside them. ``since``: when the ledger began to record waiting messages.

    Of the rows that are neither claimed nor in doubt, ``max_idle`` are kept: those that were written last.
    ``idle`` has their keys in this order.
    """

    since: float
    max_idle: int
    rows: dict[Key, Row] = field(default_factory=dict)
    journals: dict[Key, str] = field(default_factory=dict)
    idle: dict[Key, None] = field(default_factory=dict)
    pruned: dict[Key, None] = field(default_factory=dict)
    held: dict[Key, Slot] = field(default_factory=dict)
    slots: Slots = field(default_factory=Slots)
    sums: Counter[tuple[int, str, str, str]] = field(default_factory=Counter)
    waiting: dict[str, Record] = field(default_factory=dict)
    sweeper: tuple[str, float] = ("", 0.0)
    """Who sweeps, and until when."""
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    replaced: dict[tuple[str, int], float] = field(default_factory=dict)
    workers: dict[tuple[str, str], WorkerRecord] = field(default_factory=dict)
    acts: dict[tuple[str, str], Act] = field(default_factory=dict)
    state_key: str = field(default_factory=new_state_key, repr=False)

    def add_to_journal(self, key: Key, lines: str) -> None:
        """Add to the journal of a row."""
        self.journals[key] = added(self.journals.get(key, ""), lines)

    def delete(self, key: Key) -> None:
        """Delete a row, and what belongs to it."""
        del self.rows[key]
        self.idle.pop(key, None)
        self.held.pop(key, None)
        self.journals.pop(key, None)

    def with_message(self) -> set[tuple[str | None, str | None]]:
        """Return the project and the snapshot of each recorded message."""
        return {(each.waiting.project_id, each.waiting.snapshot_id) for each in self.waiting.values()}


def added(journal: str, lines: str) -> str:
    """Return a journal with lines added, of which the last are kept."""
    return (journal + lines)[-MOST_CHARACTERS:]
