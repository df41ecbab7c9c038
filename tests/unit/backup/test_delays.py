"""Waiting messages are in the ledger and in the broker: either may lose them."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from events.message import Message
from handler.backup.ports import Waiting
from handler.backup.process import Process
from handler.errors import LedgerUnavailable
from tests.twins.api import CutAfter
from tests.twins.events import cloud_event, message
from tests.twins.steps import SteppedLedger
from tests.twins.world import World, with_limits
from tests.unit.backup.handling import MADE, UNAVAILABLE, UNTRACKED, handle, waits


def body_of(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's body in its own event loop."""

    async def body() -> None:
        await work()

    asyncio.run(body())


async def recorded(world: World) -> int:
    """Return how many waiting messages the ledger has."""
    return (await world.ledger.waiting(overdue=0.0, longest=0.0)).total


def test_an_event_that_never_waits_costs_no_record() -> None:
    """Without tracking, an event that is accepted at once writes and deletes no record."""
    world = World(settings=UNTRACKED)
    assert ["backup.accepted"] == handle(world, message(1))
    assert not [name for name in world.steps.names if "waiting" in name]


@pytest.mark.parametrize("tracked", [True, False])
def test_an_ended_event_leaves_no_record(tracked: bool) -> None:
    """The record is deleted when the event has ended, after waits for any reason."""
    world = World() if tracked else World(settings=UNTRACKED)
    world.api.settle = 3.0
    world.api.fail("create", UNAVAILABLE)

    async def body() -> None:
        await world.run(message(1))
        assert 0 == await recorded(world)

    body_of(body)
    assert "after record_waiting" in world.steps.names
    assert world.published()[0] == "backup.accepted"


def test_events_that_differ_only_in_their_headers_have_a_record_each() -> None:
    """Two CloudEvents in binary mode may have the same body; each has a record, and each has its outcome."""
    world = World()
    world.api.settle = 100.0
    body = json.dumps(cloud_event(1)["data"]).encode()

    def binary(name: str) -> Message:
        headers = {"ce-specversion": "1.0", "ce-type": "snapshot.completed", "ce-source": "s", "ce-id": name}
        return Message(body, "application/json", headers)

    async def run() -> None:
        for each in ("one", "two"):
            world.broker.publish(binary(each))
        await world.deliver(2)
        assert 2 == await recorded(world)
        await world.until_quiet()

    body_of(run)
    ended = [each for each in world.outcomes if each.type == "backup.completed"]
    assert {"one", "two"} == {json.loads(each.body)["correlationid"] for each in ended}


def test_a_message_whose_outcome_is_unroutable_is_not_taken_for_lost() -> None:
    """It rests until a queue is bound, in no wait queue of a known delay; after six hours it is swept."""
    world = World(settings=UNTRACKED)
    world.broker.bound = False

    async def run() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert 1 == await recorded(world)
        world.advance(6 * 3600.0)
        assert 0 == await world.sweep()
        world.advance(61.0)
        assert 1 == await world.sweep()

    body_of(run)


def test_the_record_is_deleted_after_the_outcome_is_confirmed() -> None:
    """A crash after the end is in the ledger and before it is published leaves the record."""
    world = World()
    handle(world, message(1))
    names = world.steps.names
    assert names.index("before forget_waiting") > len(names) - 1 - names[::-1].index("after publish_outcome")


def test_a_lost_message_is_taken_up_again_from_the_ledger() -> None:
    """The wait queue is deleted with the message in it; the backup's end is published nevertheless."""
    world = World()
    world.api.settle = 3.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        assert 1 == len(world.broker.waiting)
        world.broker.waiting.clear()
        assert 0 == await world.sweep(), "it is not overdue yet"
        await world.until_swept()

    body_of(body)
    assert MADE == list(world.published())
    assert 1 == len(world.api.backups)


def test_a_lost_call_in_doubt_is_looked_up_from_the_ledger() -> None:
    """A call in doubt whose message is lost is looked up, and no second request is sent."""
    world = World()
    world.api.fail("create", CutAfter())

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.broker.waiting.clear()
        await world.until_swept()

    body_of(body)
    assert MADE == list(world.published())
    assert 1 == len(world.api.backups)


def test_a_copy_that_is_published_too_early_becomes_one_with_the_other() -> None:
    """A message that was only late has a copy for one delay: then one of the two is dropped."""
    world = World(settings=with_limits(delays=(1, 2, 4, 60)))
    world.api.settle = 300.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        for _ in range(3):
            world.advance(61.0)
            assert 1 == await world.sweep(0.0)
            world.broker.expire()
            assert 2 == len(world.broker.ready)
            while world.broker.ready:
                await world.deliver()
            assert 1 == len(world.broker.waiting)
        await world.until_quiet()

    body_of(body)
    assert 1 == len(world.api.backups)
    assert "backup.completed" == world.published()[-1]


def test_a_redelivered_message_is_not_taken_for_a_copy() -> None:
    """A process that crashes after the record and before the delay leaves a message that waits again."""
    world = World()
    world.api.settle = 300.0

    async def body() -> None:
        world.broker.publish(message(1))
        await world.deliver()
        world.advance(60.0)
        world.broker.expire()
        world.steps.deadly = "before delay"
        await world.deliver()
        assert ["before delay"] == world.crashes
        world.steps.deadly = None
        await world.until_quiet()

    body_of(body)
    assert MADE == sorted(set(world.published()))


def test_a_message_waits_while_the_ledger_is_unavailable() -> None:
    """Without the ledger the delay is published without a record, and no event is lost."""
    world = World()
    ledger = world.ledger

    async def body() -> None:
        services = world.services()
        process = Process(
            services=services._replace(ledger=_NoRecords(ledger, world.steps)),
            outbox=world.broker,
            selection=world.selection,
            notify=world.handled.append,
        )
        await process.handle(world.receiver.receive(message(1)))
        assert 1 == len(world.broker.waiting)
        assert 0 == await recorded(world)
        assert world.breaker.pause_left(), "the service has not failed"

    body_of(body)
    assert not waits(world)


class _NoRecords(SteppedLedger):
    """A ledger that cannot record what waits."""

    async def record_waiting(self, waiting: Waiting, *, drop_copy: bool = False) -> bool:
        """Fail."""
        raise LedgerUnavailable(f"locked: {waiting.id}, {drop_copy}")


def test_a_parked_message_is_recorded_under_its_own_id() -> None:
    """A message that is delayed unhandled is taken up again too, and ends with its record deleted."""
    world = World()

    async def body() -> None:
        await world.process.park(world.receiver.receive(message(1)), seconds=1.0)
        world.broker.waiting.clear()
        assert 1 == await recorded(world)
        await world.until_swept()

    body_of(body)
    assert MADE == list(world.published())


def test_a_message_whose_handling_fails_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort deletes the record: else the sweep would bring the message back for ever."""
    world = World()

    async def body() -> None:
        received = world.receiver.receive(message(1))
        await world.process.park(received, seconds=1.0)
        world.broker.expire()
        world.advance(2.0)
        world.broker.expire()
        monkeypatch.setattr(world.process, "_handle", _broken)
        await world.deliver()
        assert 0 == await recorded(world)

    body_of(body)
    assert 1 == len(world.broker.dead)


async def _broken(_received: object) -> Message:
    raise RuntimeError("a bug")
