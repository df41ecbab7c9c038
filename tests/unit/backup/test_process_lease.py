"""The lease of a claim while a message is handled: checked right before the request, dropped after a bug."""

from dataclasses import dataclass

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key, Snapshot
from handler.backup.request import BackupRequest
from tests.twins.api import MemoryApi
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.world import LEASE, World
from tests.unit.backup.handling import MADE, run, trace, waits

KEY = Key(PROJECT, made_up_id("snapshot", 1))


@dataclass
class _Slow(MemoryApi):
    """An API whose first answer about a snapshot comes after the lease has ended."""

    world: World | None = None

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        world, self.world = self.world, None
        if world:
            world.advance(LEASE + 1)
        return await super().show_snapshot(project_id, snapshot_id)


def test_no_request_is_sent_after_the_lease_has_ended() -> None:
    """The process delays the message instead, since another worker may have sent the request meanwhile."""

    async def body() -> None:
        world = World()
        api = world.api = _Slow(world.steady)
        world.start()
        api.world = world
        snapshot = Snapshot(made_up_id("snapshot", 1), made_up_id("volume", 1), "available")
        api.snapshots[snapshot.id] = snapshot
        world.broker.publish(trace(1))
        await world.deliver()
        assert ["retry"] == waits(world)
        assert 0 == api.calls["create"]
        assert MADE == list(await world.run())
        assert 1 == len(api.backups)

    run(body)


class _Buggy(MemoryApi):
    """An API whose client has a bug."""

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        raise RuntimeError("a bug")


def test_the_lease_of_a_claim_that_a_bug_ended_is_not_renewed() -> None:
    """Another worker is granted the claim as soon as the lease ends, in doubt about the first request."""

    async def body() -> None:
        world = World()
        world.api = _Buggy(world.steady)
        world.start()
        world.broker.publish(message(1))
        await world.deliver()
        for _ in range(3):
            world.advance(LEASE / 2)
            await world.ledger.renew()
        claim = await world.ledger.claim(KEY, "another event")
        assert isinstance(claim, Granted)
        assert claim.doubt

    run(body)
