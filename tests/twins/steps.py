"""Numbered steps of message handling, and a simulated crash of the process at the k-th step.

Each write to the ledger, call of the API, publish and acknowledgement has two steps: one before and one after
it takes effect.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events.outcome import AcceptedBackup, Failure
from handler.backup.ports import (
    Api,
    Backup,
    Chain,
    Claim,
    Created,
    Doubt,
    Finished,
    Granted,
    Key,
    Ledger,
    Snapshot,
    Waiting,
)
from handler.backup.request import BackupRequest
from handler.backup.running import Room

Step = Callable[[str], None]


class Crash(BaseException):
    """A simulated end of the process: a ``BaseException``, so that no ``except Exception`` catches it."""


@dataclass
class Steps:
    """Counts steps; crashes once at step number ``crash_at``, and at every step named ``deadly``."""

    crash_at: int | None = None
    deadly: str | None = None
    names: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.crash_at or name == self.deadly:
            raise Crash(name)

    @asynccontextmanager
    async def around(self, name: str) -> AsyncIterator[None]:
        """Count one step before the block, and one after it unless it fails."""
        self(f"before {name}")
        yield
        self(f"after {name}")


@dataclass
class SteppedApi(Api):
    """An API whose calls are steps."""

    api: Api
    steps: Steps

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        async with self.steps.around("create"):
            return await self.api.create(project_id, request)

    async def check(self, project_id: str) -> None:
        await self.api.check(project_id)

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        async with self.steps.around("find"):
            return await self.api.find(project_id, volume_id, snapshot_id, name)

    async def chain(self, project_id: str, volume_id: str) -> Chain:
        async with self.steps.around("chain"):
            return await self.api.chain(project_id, volume_id)

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        async with self.steps.around("show"):
            return await self.api.show(project_id, backup_id)

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        async with self.steps.around("show_snapshot"):
            return await self.api.show_snapshot(project_id, snapshot_id)

    async def aclose(self) -> None:
        await self.api.aclose()


@dataclass
class SteppedLedger(Ledger):
    """A ledger whose writes are steps."""

    ledger: Ledger
    steps: Steps

    async def claim(
        self, key: Key, cause: str, *, replay: bool = False, room: Room | None = None, known: bool = False
    ) -> Claim:
        async with self.steps.around("claim"):
            return await self.ledger.claim(key, cause, replay=replay, room=room, known=known)

    async def holds(self, claim: Granted) -> bool:
        # no write, so no step
        return await self.ledger.holds(claim)

    def abandon(self, claim: Granted) -> None:
        # no write, so no step
        self.ledger.abandon(claim)

    async def release(self, claim: Granted) -> None:
        async with self.steps.around("release"):
            await self.ledger.release(claim)

    async def doubt(self, claim: Granted, doubt: Doubt) -> None:
        async with self.steps.around("doubt"):
            await self.ledger.doubt(claim, doubt)

    async def created(self, claim: Granted, backup: AcceptedBackup) -> None:
        async with self.steps.around("created"):
            await self.ledger.created(claim, backup)

    async def refused(self, claim: Granted, cause: str, failure: Failure, *, attempts: int) -> None:
        async with self.steps.around("refused"):
            await self.ledger.refused(claim, cause, failure, attempts=attempts)

    async def give_up(
        self, key: Key, cause: str, failure: Failure, *, attempts: int, tracked: bool, replay: bool = False
    ) -> Created | Finished:
        async with self.steps.around("give_up"):
            return await self.ledger.give_up(
                key, cause, failure, attempts=attempts, tracked=tracked, replay=replay
            )

    async def finished(self, key: Key, end: Finished, *, backup_id: str, cause: str) -> None:
        async with self.steps.around("finished"):
            await self.ledger.finished(key, end, backup_id=backup_id, cause=cause)

    async def record_waiting(self, waiting: Waiting, *, drop_copy: bool = False) -> bool:
        async with self.steps.around("record_waiting"):
            return await self.ledger.record_waiting(waiting, drop_copy=drop_copy)

    async def forget_waiting(self, waiting_id: str) -> None:
        async with self.steps.around("forget_waiting"):
            await self.ledger.forget_waiting(waiting_id)

    async def is_replaced(self, waiting_id: str, waits: int) -> bool:
        return await self.ledger.is_replaced(waiting_id, waits)

    async def renew(self) -> None:
        await self.ledger.renew()

    async def prune(self, older_than: float) -> int:
        return await self.ledger.prune(older_than)

    async def check(self) -> None:
        await self.ledger.check()

    async def aclose(self) -> None:
        await self.ledger.aclose()
