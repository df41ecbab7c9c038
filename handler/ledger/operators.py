"""``OperatorsLedger``: what operators ask of the ledger, and what they set and do in it."""

from collections.abc import Callable, Sequence

from handler.backup.ports import Busy, Created, Finished, Key
from handler.backup.workers import Workers
from handler.ledger import rules
from handler.ledger.audit import Act
from handler.ledger.control import CONCURRENCY, Entry, Taken, WaitingChoice, pause_of
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
from handler.ledger.ports import Store
from handler.ledger.pruning import Prunable
from handler.ledger.row import Row
from handler.ledger.search import GLANCE, PLACES, Found, Slice


class OperatorsLedger:
    """The part of a ledger that is for operators: what asks changes nothing."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic

    async def prunable(self, older_than: float) -> Prunable:
        """Count the rows that ``prune`` would delete."""
        return await self._store.prunable(older_than)

    async def look_up(self, key: Key) -> Row | None:
        """Read a snapshot's row."""
        return await self._store.look_up(key)

    async def snapshots(self, snapshot_id: str, project_id: str | None = None) -> Sequence[SnapshotRecord]:
        """Read what is kept about a snapshot: in one project, or in each that has it."""
        return await self._store.snapshots(snapshot_id, project_id)

    async def search(self, which: Slice, *, seconds: float) -> Found:
        """Find the snapshots of a backup, an event or a volume; ``handler.ledger.search`` says how far.

        Ends at the first slice that has some, or after ``seconds``, and says where to go on.
        """
        over, searched = self._monotonic() + seconds, 0
        glances = [Slice(which.text, place, limit=GLANCE) for place in PLACES] if not which.glanced else []
        which = which._replace(glanced=True)
        for each in glances:
            done = await self._store.search(each)
            searched += done.searched
            if done.keys:
                return Found(done.keys, searched, which)
        while True:
            done = await self._store.search(which)
            searched += done.searched
            rest = which.rest(done.after)
            if rest is None or done.keys or self._monotonic() > over:
                return Found(done.keys, searched, rest)
            which = rest

    async def list_waiting(self, which: WaitingFilter) -> WaitingList:
        """List recorded messages, those that are due first."""
        return await self._store.list_waiting(which)

    async def list_states(self, which: StateFilter) -> StateList:
        """List rows by their standing, in the order of their last change."""
        return await self._store.list_states(which)

    async def overview(self, since: float) -> Overview:
        """Count what has no end yet, what waits, and the outcomes of each hour since then."""
        return await self._store.overview(since)

    async def outcomes(self, since: float, until: float | None = None, *, by: By) -> Sequence[Sum]:
        """Count outcomes: ``accepted``, ``completed``, ``failed`` and ``skipped``, by whole hours.

        Each is counted when it is recorded, so a failure and the backup of its replay count both.
        """
        return await self._store.outcomes(since, until, by)

    async def report(
        self, since: float, until: float | None = None, *, by: By, project_id: str | None = None
    ) -> Sequence[Sum]:
        """Count each snapshot once, by where it stands now and the time of its last change.

        One of which only a message is recorded counts as ``waiting``, at the time when it began to wait.
        """
        return await self._store.report(since, until, by, project_id)

    async def workers(self, queue: str) -> Workers:
        """Read which workers of a queue have reported within the last day."""
        return await self._store.workers(queue)

    async def pause(self, queue: str, project_id: str | None = None, reason: str = "") -> None:
        """Pause a queue, or one project of it; a pause that is there gets the new reason and time."""
        await self._store.save_entry(queue, Entry(pause_of(project_id), 0.0, reason=reason))

    async def resume(self, queue: str, project_id: str | None = None) -> bool:
        """End the pause of a queue, or of one project; return whether there was one."""
        return await self._store.delete_entry(queue, pause_of(project_id))

    async def set_concurrency(self, queue: str, number: int | None) -> None:
        """Set the number of messages in hand for all workers of a queue; None: each worker's own setting."""
        if number is None:
            await self._store.delete_entry(queue, CONCURRENCY)
        else:
            await self._store.save_entry(queue, Entry(CONCURRENCY, 0.0, number))

    async def save_act(self, queue: str, act: Act) -> None:
        """Write a new act of an operator into the audit journal, or the end of one."""
        await self._store.save_act(queue, act)

    async def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the audit journal of a queue, the latest act first."""
        return await self._store.acts(queue, limit)

    async def choose_waiting(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait, with their bodies."""
        return await self._store.choose(choice)

    async def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, with ``body``, whose state has waited once more.

        The copy that is in a wait queue is replaced by it. False: the message does not wait as it did.
        """
        return await self._store.bring_back(taken, body)

    async def cancel(
        self, key: Key, cause: str, reason: str, *, attempts: int, replay: bool = False
    ) -> Finished | Created | Busy:
        """End an event as cancelled, unless a worker has it in hand or its backup is in progress.

        Returns its end, which is another one where it had ended before. A doubt stays in the ledger, so that
        a replay looks the backup up before anything is sent.
        """
        return await self._store.change(
            key,
            lambda row, now: rules.cancel(row, cause, reason, attempts=attempts, replay=replay, now=now),
        )

    async def end_waiting(self, taken: Taken) -> None:
        """Delete the record of a message that has ended while a copy of it is in a wait queue."""
        await self._store.end(taken)
