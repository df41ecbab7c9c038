"""What a store needs: transactions that change rows and records, and of a database a way to end one."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from handler.backup.ports import Key, Waiting
from handler.backup.running import Slots
from handler.backup.workers import WorkerReport, Workers
from handler.errors import LedgerUnavailable
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
from handler.ledger.pruning import Cutoff, Prunable
from handler.ledger.quick import QuickChange
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row, Slot
from handler.ledger.search import Slice, Sliced
from handler.ledger.waiting import Copy, Overdue, WaitingSummary


class TransactionJournal(Protocol):
    """The journal in a transaction, which writes its sums at its end; it also answers inquiries."""

    def changed(self, key: Key, before: Row | None, after: Row) -> str:
        """Return the entries of a change of a row, and count the outcomes among them."""

    def forget_sums(self, before: float) -> None:
        """Delete the sums of hours that are too old."""

    def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""

    def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""

    def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""

    def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes by whole hours."""

    def report(self, since: float, until: float | None, by: By, project_id: str | None) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""


class Transaction(Protocol):
    """An open transaction; ``now`` is seconds since the epoch, read once the lock is held."""

    now: float

    @property
    def journal(self) -> TransactionJournal:
        """The journal."""

    def load(self, key: Key) -> Row | None:
        """Read a row. It stays locked until the end of the transaction."""

    def save(self, key: Key, row: Row, journal: str) -> None:
        """Insert or replace a row, and add to its journal."""

    def quick(self, change: QuickChange) -> bool:
        """Make a quick change; False: nothing was changed, and the rules decide."""

    def slots(self, groups: Sequence[str]) -> Slots:
        """Return the slots of groups, locked until the end of the transaction, which writes their changes."""

    def move_slot(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Count a row's slot where it has changed."""

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows."""

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete old rows, each of which leaves a tombstone; return how many."""

    def has_forgotten(self, key: Key) -> bool:
        """Return whether the ledger has known more of a key that the transaction began with, or may have."""

    def load_copy(self, waiting_id: str) -> Copy | None:
        """Read what is recorded of a waiting message, whose id the transaction began with."""

    def record(self, waiting: Waiting) -> None:
        """Insert or replace the record of a waiting message."""

    def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message; its journal becomes part of its snapshot's."""

    def forget_records(self, before: float, *, limit: int) -> int:
        """Delete records of messages that were due before; return how many."""

    def forget_old(self, before: float) -> None:
        """Delete what else is too old: of slots, replaced copies, workers, and acts that began before."""

    def hold_sweep(self, owner: str, lease: float) -> bool:
        """Hold the sweep for ``lease`` seconds; False where another process holds it."""

    def take(self, overdue: float, limit: int) -> Sequence[Overdue]:
        """Read up to ``limit`` messages overdue for so many seconds, and put off when each is taken again."""

    def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count messages overdue for so many seconds that the sweep has not taken, by their delay."""

    def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages, and find snapshots that have had none for ``longest`` seconds."""

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""

    def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""

    def entries(self, queue: str) -> Sequence[Entry]:
        """Read what operators have set for a queue."""

    def report(self, queue: str, report: WorkerReport) -> None:
        """Write a worker's row."""

    def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""

    def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""

    def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue."""

    def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""

    def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator, or the end of one."""

    def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue, the latest first."""

    def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait, with their bodies."""

    def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, with one wait more; False where it does not wait as it did."""

    def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended, and remember its copy at the broker."""

    def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether the copy of a message that has waited so often is replaced."""

    def touch(self) -> None:
        """Write a row that holds no promise, to prove that writing works."""

    def state_key(self) -> str:
        """Read the key of waiting messages; write one where there is none."""


class Backend(Protocol):
    """A database, used from one thread only."""

    def transaction(
        self, keys: Sequence[Key], copies: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> AbstractContextManager[Transaction]:
        """Run the block in a transaction that locks ``keys``, and commit. Raises ``LedgerUnavailable``.

        ``copies`` are the ids of waiting messages whose record is read, ``groups`` those of slots.
        """

    def commit_quick(self, changes: Sequence[QuickChange]) -> Sequence[bool] | None:
        """Make quick changes in a transaction of their own, and return which were made.

        None: that is not faster than ``Transaction.quick``. Raises ``LedgerUnavailable``.
        """

    def close(self) -> None:
        """Close the connection, if any; the next transaction opens another."""

    @property
    def longest(self) -> float:
        """After how many seconds a transaction counts as stuck."""

    def interrupt(self) -> None:
        """End what the transaction waits for, where that is possible. Called from another thread."""

    def stuck(self, seconds: float) -> LedgerUnavailable:
        """Return what to raise while a transaction has been stuck for so long. Called from another thread."""
