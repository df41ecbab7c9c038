"""What a ledger needs of a store: the protocol, and the changes that it carries out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.backup.workers import WorkerReport, Workers
from handler.ledger import rules
from handler.ledger.audit import Act
from handler.ledger.control import Entry, Taken, WaitingChoice
from handler.ledger.inquiry import (
    By,
    Overview,
    SnapshotRecord,
    StateFilter,
    StateList,
    Sum,
    WaitingFilter,
    WaitingList,
)
from handler.ledger.pruning import Prunable
from handler.ledger.quick import Quick
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row
from handler.ledger.search import Slice, Sliced
from handler.ledger.waiting import Overdue, Take, WaitingSummary

T = TypeVar("T")
Change = Callable[[Row | None, float], rules.Changed[T]]
"""A change: from a row and the time to an answer and the row to write.

It is pure: a store may run it more than once.
"""

LimitedChange = Callable[[Row | None, float, Slots], rules.Changed[T]]
"""A change that also asks for a slot, or changes the queues for one."""


class Store(Protocol):
    """Where rows are kept. Every method raises ``LedgerUnavailable``; when it returns, the row is on disk."""

    async def change(self, key: Key, change: Change[T], quick: Quick[T] | None = None) -> T:
        """Load a row, change it and save it, while the row is locked.

        A store may make the quick change instead, where that is the same.
        """

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row as ``change`` does, while the slots of these groups are locked too."""

    async def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""

    async def look_up(self, key: Key) -> Row | None:
        """Read a row, without a lock."""

    async def prunable(self, older_than: float) -> Prunable:
        """Count the rows that ``prune`` would delete."""

    async def prune(self, older_than: float, *, as_of: float | None = None) -> int:
        """Delete rows older than ``older_than`` seconds at ``as_of`` (None: now); return how many."""

    async def record(self, waiting: Waiting, *, drop_copy: bool) -> bool:
        """Record a waiting message, as ``Ledger.record_waiting`` says."""

    async def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""

    async def take(self, take: Take) -> Sequence[Overdue] | None:
        """Take overdue messages, each put off for a growing time; None where another process sweeps."""

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count messages overdue for so many seconds that the sweep has not taken, by their delay."""

    async def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages, and find snapshots that have had none for ``longest`` seconds."""

    async def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot: in one project, or in each that has it."""

    async def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages, those that are due first."""

    async def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""

    async def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""

    async def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes."""

    async def report(
        self, since: float, until: float | None, by: By, project_id: str | None
    ) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""

    async def entries(self, queue: str, report: WorkerReport | None = None) -> Sequence[Entry]:
        """Read what operators have set for a queue; write a worker's report in the same transaction."""

    async def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""

    async def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""

    async def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue; its time is that of the store."""

    async def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""

    async def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator, or the end of one; the times are those of the store."""

    async def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue, the latest first."""

    async def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait, with their bodies."""

    async def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, with one wait more; False where it does not wait as it did."""

    async def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended, and remember its copy at the broker."""

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether the copy of a message that has waited so often is replaced."""

    async def check(self) -> None:
        """Prove that the store can be written."""

    async def ping(self) -> None:
        """Prove that the store answers."""

    async def state_key(self) -> str:
        """Return the key that authenticates waiting messages; the first process that asks makes it."""

    async def aclose(self) -> None:
        """Release files and connections; afterwards every method raises ``LedgerUnavailable``."""
