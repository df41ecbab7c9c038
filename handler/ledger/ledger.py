"""``StoredLedger``: the ledger over any store. It joins the rules and the leases of this process; no SQL."""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from typing_extensions import override

from events.outcome import AcceptedBackup, Failure
from handler.backup.control import Control
from handler.backup.hooks import OnSecondBackup, SecondBackup, noop
from handler.backup.ports import Claim, Created, Doubt, Finished, Granted, Key, Ledger, Waiting
from handler.backup.running import Room
from handler.backup.workers import WorkerReport
from handler.errors import LedgerUnavailable
from handler.ledger import rules
from handler.ledger.control import (
    control_of,
)
from handler.ledger.leases import Leases
from handler.ledger.operators import OperatorsLedger
from handler.ledger.ports import Change, Store
from handler.ledger.quick import Quick, first_backup, first_claim, first_end
from handler.ledger.room import RunningSummary, with_slot, with_tracked_slot
from handler.ledger.row import Row
from handler.ledger.waiting import Overdue, Take, WaitingSummary

_log = logging.getLogger(__name__)


class StoredLedger(OperatorsLedger, Ledger):
    """A ledger over a store; ``handler.backup.ports.Ledger`` says what its methods promise."""

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float,
        ask_first: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, monotonic)
        self._leases = Leases(lease_seconds, monotonic=monotonic)
        self._ask_first = ask_first
        # Random once: a random token for each claim would cost 2 % of an event's CPU time.
        self._owner = secrets.token_hex(16)
        self._claims = itertools.count()
        self._state_key: str | None = None
        self.second: OnSecondBackup = noop
        """Called with each second backup of a snapshot that the ledger was given."""

    @override
    async def claim(
        self, key: Key, cause: str, *, replay: bool = False, room: Room | None = None, known: bool = False
    ) -> Claim:
        token = f"{self._owner}-{next(self._claims):x}"
        asked, lease = self._leases.monotonic(), self._leases.seconds

        def change(row: Row | None, now: float) -> rules.Changed[Claim]:
            return rules.claim(row, key, cause, replay=replay, now=now, token=token, lease=lease)

        quick = None if known else first_claim(key, token, lease, replay=replay)
        answer = await self._claim(key, change, quick, room)
        if isinstance(answer, Granted):
            self._leases.granted(key, token, asked)
            return answer._replace(ask_first=True) if self._ask_first else answer
        return answer

    async def _claim(
        self, key: Key, change: Change[Claim], quick: Quick[Granted] | None, room: Room | None
    ) -> Claim:
        if room is None or not room.limits:
            return await self._store.change(key, change, quick)
        if room.tracked:
            return await self._store.change(
                key, lambda row, now: with_tracked_slot(row, change(row, now), room, now)
            )
        return await self._store.change_limited(
            key,
            lambda row, now, slots: with_slot(row, change(row, now), key, room, slots, now),
            room.groups,
        )

    @override
    async def holds(self, claim: Granted) -> bool:
        return self._leases.hold(claim)

    @override
    def abandon(self, claim: Granted) -> None:
        self._leases.drop_claim(claim.key, claim.token)

    @override
    async def release(self, claim: Granted) -> None:
        self._leases.drop_claim(claim.key, claim.token)
        await self._store.change(
            claim.key, lambda row, now: rules.release(row, claim.token, now=now, sent=claim.sent)
        )

    @override
    async def doubt(self, claim: Granted, doubt: Doubt) -> None:
        self._leases.drop_claim(claim.key, claim.token)
        await self._store.change(claim.key, lambda row, now: rules.doubt(row, claim.token, doubt, now=now))

    @override
    async def created(self, claim: Granted, backup: AcceptedBackup) -> None:
        self._leases.drop(claim.key)
        first = await self._store.change(
            claim.key,
            lambda row, now: rules.created(row, claim.token, backup, now=now),
            first_backup(claim, backup),
        )
        self._warn_of_second(claim.key, first, backup.id)

    @override
    async def refused(self, claim: Granted, cause: str, failure: Failure, *, attempts: int) -> None:
        self._leases.drop_claim(claim.key, claim.token)
        await self._store.change(
            claim.key,
            lambda row, now: rules.refused(
                row, claim.token, cause, failure, attempts=attempts, now=now, sent=claim.sent
            ),
        )

    @override
    async def give_up(
        self, key: Key, cause: str, failure: Failure, *, attempts: int, tracked: bool, replay: bool = False
    ) -> Created | Finished:
        end = Finished(failure=failure, attempts=attempts)
        return await self._store.change(
            key, lambda row, now: rules.give_up(row, cause, end, tracked=tracked, replay=replay, now=now)
        )

    @override
    async def finished(self, key: Key, end: Finished, *, backup_id: str, cause: str) -> None:
        first = await self._store.change(
            key,
            lambda row, now: rules.finished(row, end, backup_id=backup_id, cause=cause, now=now),
            first_end(key, end, backup_id),
        )
        self._warn_of_second(key, first, backup_id)

    @property
    def records_waiting(self) -> bool:
        """Whether the ledger outlives this process, so that recording waiting messages is of use."""
        return not self._ask_first

    @override
    async def record_waiting(self, waiting: Waiting, *, drop_copy: bool = False) -> bool:
        return not self.records_waiting or await self._store.record(waiting, drop_copy=drop_copy)

    @override
    async def forget_waiting(self, waiting_id: str) -> None:
        if self.records_waiting:
            await self._store.forget(waiting_id)

    async def take_overdue(self, *, overdue: float, limit: int, lease: float) -> Sequence[Overdue] | None:
        """Take messages that have been due for ``overdue`` seconds; None where another process sweeps.

        This process then holds the sweep for ``lease`` seconds. A message that was taken is taken again only
        after a growing time, unless it waits again meanwhile.
        """
        return await self._store.take(Take(self._owner, lease, overdue, limit))

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count the messages that have been due for ``overdue`` seconds, by the delay of their wait queue.

        Those that the sweep has taken meanwhile are on their way, and do not count.
        """
        return await self._store.overdue_by_delay(overdue)

    async def waiting(self, *, overdue: float, longest: float) -> WaitingSummary:
        """Count the recorded messages, and find the snapshots that have had none for ``longest`` seconds."""
        return await self._store.waiting(overdue, longest)

    async def running(self) -> RunningSummary:
        """Count the backups in progress that have a slot, and the messages that wait for one."""
        return await self._store.running()

    @override
    async def renew(self) -> None:
        answers = await asyncio.gather(*(self._renew(*held) for held in self._leases.all()))
        for error in answers:
            if error is not None:
                raise error

    async def _renew(self, key: Key, token: str) -> LedgerUnavailable | None:
        asked, lease = self._leases.monotonic(), self._leases.seconds
        try:
            kept = await self._store.change(
                key, lambda row, now: rules.extend(row, token, now=now, lease=lease)
            )
        except LedgerUnavailable as error:
            return error
        if kept:
            self._leases.renewed(key, token, asked)
        else:
            self._leases.drop_claim(key, token)
        return None

    @override
    async def prune(self, older_than: float, *, as_of: float | None = None) -> int:
        """Delete rows that ended more than ``older_than`` seconds before ``as_of``; return how many.

        Each leaves a tombstone: a later claim of its snapshot says to look up first. A row without an end is
        kept for at least 30 days. ``as_of`` is the time of a ``Prunable``, so that only counted rows are
        deleted, or None for now.
        """
        return await self._store.prune(older_than, as_of=as_of)

    @override
    async def check(self) -> None:
        await self._store.check()

    async def ping(self) -> None:
        """Read something, to notice that the ledger does not answer."""
        await self._store.ping()

    async def state_key(self) -> str:
        """Return the key that authenticates waiting messages, the same for all who share the ledger.

        The first process that asks makes it at random; each process reads it once.
        """
        if self._state_key is None:
            self._state_key = await self._store.state_key()
        return self._state_key

    @property
    def controllable(self) -> bool:
        """Whether operators can set something for all workers: other processes can write into the ledger."""
        return self.records_waiting

    async def control(self, queue: str, report: WorkerReport | None = None) -> Control:
        """Read what operators have set for all workers of a queue; a worker writes its report with it."""
        return control_of(await self._store.entries(queue, report))

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker that stops orderly."""
        await self._store.remove_worker(worker_id)

    @override
    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        return self.records_waiting and await self._store.is_replaced(waiting_id, waits)

    def _warn_of_second(self, key: Key, first: str | None, second: str) -> None:
        """Report that the ledger keeps the first of two backups; ``first`` None: there is one only."""
        if first is not None:
            _log.warning(
                "snapshot %s has two backups; the ledger keeps %s and ignores %s",
                key.snapshot_id,
                first,
                second,
                extra={"action": "ledger.second_backup", "first": first, "second": second},
            )
            self.second(SecondBackup(key.snapshot_id, (first, second)))

    @override
    async def aclose(self) -> None:
        await self._store.aclose()


def new_state_key() -> str:
    """Make a key of 256 random bits."""
    return secrets.token_hex(32)
