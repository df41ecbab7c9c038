"""``TransactionalStore``: a store that does all that a ledger asks of it in transactions.

Each method says what its transaction does. A subclass opens the transactions: ``handler.ledger.group`` shares
those of a database between callers, ``handler.ledger.memory`` has one for each call.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from handler.backup.ports import Key, Waiting
from handler.backup.workers import WorkerReport, Workers
from handler.ledger.audit import Act
from handler.ledger.backend import Transaction
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
from handler.ledger.ports import Change, LimitedChange
from handler.ledger.pruning import Prunable, Steps, cutoff, rest
from handler.ledger.quick import Quick
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row
from handler.ledger.rules import Changed
from handler.ledger.search import Slice, Sliced
from handler.ledger.tombstones import PRUNED
from handler.ledger.waiting import Overdue, Take, WaitingSummary

T = TypeVar("T")


class TransactionalStore(ABC):
    """A ``handler.ledger.ports.Store`` over ``handler.ledger.backend.Transaction``."""

    @abstractmethod
    async def _run(
        self,
        work: Callable[[Transaction], T],
        key: Key | None = None,
        copy: str | None = None,
        groups: Sequence[str] = (),
        quick: Quick[T] | None = None,
    ) -> T:
        """Do work in a transaction that may have other callers' work in it, and commit.

        The transaction locks the row of ``key`` and the slots of ``groups``, and can read the record of the
        waiting message ``copy``. ``quick`` may be made in place of ``work``.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Release files and connections; afterwards every method raises ``LedgerUnavailable``."""

    async def change(self, key: Key, change: Change[T], quick: Quick[T] | None = None) -> T:
        """Change a row; make the quick change where that is the same."""

        def work(transaction: Transaction) -> T:
            if quick is not None and transaction.quick(quick.change):
                return quick.answer
            before = _load(transaction, key)
            return _save(transaction, key, before, change(before, transaction.now))

        return await self._run(work, key, quick=quick)

    async def change_limited(self, key: Key, change: LimitedChange[T], groups: Sequence[str]) -> T:
        """Change a row, while the slots of these groups are locked too."""

        def work(transaction: Transaction) -> T:
            before, slots = _load(transaction, key), transaction.slots(groups)
            return _save(transaction, key, before, change(before, transaction.now, slots))

        return await self._run(work, key, groups=groups)

    async def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        return await self._run(lambda transaction: transaction.running())

    async def look_up(self, key: Key) -> Row | None:
        """Read a row. Its key is not handed to the transaction, which would lock or even insert the row."""
        return await self._run(lambda transaction: transaction.load(key))

    async def prunable(self, older_than: float) -> Prunable:
        """Count old rows."""
        return await self._run(
            lambda transaction: transaction.count(cutoff(older_than, as_of=transaction.now))
        )

    async def prune(self, older_than: float, *, as_of: float | None = None) -> int:
        """Delete old rows in small steps, with a rest after each, so that claims need not wait."""
        now = await self._run(lambda transaction: transaction.now) if as_of is None else as_of
        before = cutoff(older_than, as_of=now)
        await self._delete_in_steps(
            lambda transaction, limit: transaction.forget_records(before.unsettled, limit=limit)
        )
        await self._run(lambda transaction: transaction.forget_old(before.unsettled))
        total = await self._delete_in_steps(
            lambda transaction, limit: transaction.delete(before, limit=limit)
        )
        await self._run(lambda transaction: transaction.journal.forget_sums(before.settled))
        return total

    async def _delete_in_steps(self, delete: Callable[[Transaction, int], int]) -> int:
        """Delete until nothing is left; return how many. ``delete`` does one step, up to a limit."""
        total, steps, began = 0, Steps(), time.monotonic()
        while deleted := await self._run(lambda transaction: _step(transaction, delete, steps)):
            total += deleted
            await asyncio.sleep(rest(time.monotonic() - began))
            began = time.monotonic()
        return total

    async def record(self, waiting: Waiting, *, drop_copy: bool) -> bool:
        """Record a waiting message."""

        def work(transaction: Transaction) -> bool:
            if drop_copy:
                copy = transaction.load_copy(waiting.id)
                if copy is not None and copy.is_ahead_of(waiting, transaction.now):
                    return False
            transaction.record(waiting)
            return True

        return await self._run(work, copy=waiting.id if drop_copy else None)

    async def forget(self, waiting_id: str) -> None:
        """Delete the record of a waiting message."""
        await self._run(lambda transaction: transaction.forget(waiting_id))

    async def take(self, take: Take) -> Sequence[Overdue] | None:
        """Take overdue messages; None where another process sweeps."""

        def work(transaction: Transaction) -> Sequence[Overdue] | None:
            if not transaction.hold_sweep(take.owner, take.lease):
                return None
            return transaction.take(take.overdue, take.limit) if take.limit else ()

        return await self._run(work)

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count overdue messages that the sweep has not taken, by their delay."""
        return await self._run(lambda transaction: transaction.overdue_by_delay(overdue))

    async def waiting(self, overdue: float, longest: float) -> WaitingSummary:
        """Count recorded messages."""
        return await self._run(lambda transaction: transaction.waiting(overdue, longest))

    async def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot."""
        return await self._run(lambda transaction: transaction.snapshots(snapshot_id, project_id))

    async def search(self, which: Slice) -> Sliced:
        """Search a slice of the rows, or of the waiting messages, for an id."""
        return await self._run(lambda transaction: transaction.journal.search(which))

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages."""
        return await self._run(lambda transaction: transaction.list_waiting(which))

    async def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing."""
        return await self._run(lambda transaction: transaction.journal.list_states(which))

    async def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour."""
        return await self._run(lambda transaction: transaction.journal.overview(since))

    async def outcomes(self, since: float, until: float | None, by: By) -> Sequence[Sum]:
        """Count outcomes."""
        return await self._run(lambda transaction: transaction.journal.outcomes(since, until, by))

    async def report(
        self, since: float, until: float | None, by: By, project_id: str | None
    ) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now."""
        return await self._run(lambda transaction: transaction.journal.report(since, until, by, project_id))

    async def entries(self, queue: str, report: WorkerReport | None = None) -> Sequence[Entry]:
        """Read what operators have set for a queue, and write a worker's report."""

        def work(transaction: Transaction) -> Sequence[Entry]:
            if report is not None:
                transaction.report(queue, report)
            return transaction.entries(queue)

        return await self._run(work)

    async def workers(self, queue: str) -> Workers:
        """Read the workers of a queue."""
        return await self._run(lambda transaction: transaction.workers(queue))

    async def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        await self._run(lambda transaction: transaction.remove_worker(worker_id))

    async def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue; its time is that of the store."""
        await self._run(
            lambda transaction: transaction.save_entry(queue, entry._replace(since=transaction.now))
        )

    async def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""
        return await self._run(lambda transaction: transaction.delete_entry(queue, what))

    async def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator, or the end of one."""
        await self._run(lambda transaction: transaction.save_act(queue, act))

    async def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue."""
        return await self._run(lambda transaction: transaction.acts(queue, limit))

    async def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait."""
        return await self._run(lambda transaction: transaction.choose(choice))

    async def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now."""
        return await self._run(lambda transaction: transaction.bring_back(taken, body))

    async def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended."""
        await self._run(lambda transaction: transaction.end(taken))

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether a copy of a message is replaced."""
        return await self._run(lambda transaction: transaction.is_replaced(waiting_id, waits))

    async def check(self) -> None:
        """Prove that the backend can be written."""
        await self._run(lambda transaction: transaction.touch())

    async def ping(self) -> None:
        """Prove that the backend answers; nothing is written."""
        await self._run(lambda transaction: transaction.now)

    async def state_key(self) -> str:
        """Return the key of waiting messages."""
        return await self._run(lambda transaction: transaction.state_key())


def _load(transaction: Transaction, key: Key) -> Row | None:
    """Read a row; one that was pruned, or may be lost, says that a request may have left."""
    row = transaction.load(key)
    return PRUNED if row is None and transaction.has_forgotten(key) else row


def _save(transaction: Transaction, key: Key, before: Row | None, changed: Changed[T]) -> T:
    """Save a changed row, and its slot if that has changed; return the answer."""
    answer, row = changed
    if row is not None:
        slot = before.slot if before else None
        transaction.save(key, row, transaction.journal.changed(key, before, row))
        if slot != row.slot:
            transaction.move_slot(key, slot, row.slot)
    return answer


def _step(transaction: Transaction, delete: Callable[[Transaction, int], int], steps: Steps) -> int:
    """Do one step of a prune, and note how long it took; return how many rows it has deleted."""
    began = time.monotonic()
    deleted = delete(transaction, steps.rows)
    steps.took(time.monotonic() - began)
    return deleted
