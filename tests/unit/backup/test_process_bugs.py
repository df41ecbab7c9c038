"""Message handling when clocks are set, code has bugs, or a message crashes it, with twins in memory."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from events.message import Message, State, wrap
from events.outcome import Category
from handler.backup.ports import Backup
from handler.backup.process import Process
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from tests.twins.api import CutAfter, MemoryApi
from tests.twins.broker import MemoryBroker
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.steps import Steps
from tests.twins.world import LEASE, MESSAGE_SETTINGS, World
from tests.unit.backup.handling import (
    MADE,
    failure,
    handle,
    replayed,
    run,
    waits,
)

# -- clocks


@pytest.mark.parametrize("jump", [-3600.0, -1.0, 1.0, 3600.0])
def test_a_clock_that_is_set_in_between_makes_no_second_call(jump: float) -> None:
    """A clock set by a second or an hour, as by a wrong summer time, leads to one backup and one end."""

    async def body() -> None:
        world = World()
        world.api.settle = 30.0
        world.api.fail("create", CutAfter())
        world.broker.publish(message(1))
        await world.deliver()
        world.clock.advance(jump)
        await world.until_quiet()
        assert MADE == list(world.published())
        assert 1 == len(world.api.backups)

    run(body)


# -- bugs


class _Buggy(MemoryApi):
    """An API whose client has a bug."""

    bugs = 1

    async def create(self, project_id: str, request: BackupRequest) -> Any:
        if self.bugs:
            self.bugs -= 1
            raise RuntimeError("a bug")
        return await super().create(project_id, request)


def _buggy_world(bugs: int) -> World:
    world = World()
    world.api = _Buggy(world.steady)
    world.api.bugs = bugs
    world.start()
    return world


def test_a_bug_is_tried_again_when_its_claim_has_lapsed() -> None:
    """After a bug the process does not renew the lease, so that the message can be handled again."""

    async def body() -> None:
        world = _buggy_world(bugs=1)
        world.broker.publish(message(1))
        await world.deliver()
        await world.ledger.renew()
        world.advance(LEASE / 2)
        await world.ledger.renew()
        assert MADE == list(await world.run())
        assert {"retry", "lookup"} == set(waits(world))

    run(body)


def test_a_bug_that_stays_ends_in_the_dead_letters() -> None:
    """Each bug counts as an attempt, so the message fails after MAX_ATTEMPTS."""
    world = _buggy_world(bugs=100)
    assert ["backup.failed"] == handle(world, message(1))
    assert "bug" == world.broker.dead[0].reason["dl-code"]


def test_a_bug_in_the_parser_dead_letters_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is neither replaced nor acknowledged would be redelivered for ever."""

    def decode(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("handler.backup.parse.decode", decode)
    world = World()
    assert ["backup.failed"] == handle(world, message(1))
    assert message(1).body == world.broker.dead[0].message.body


@dataclass
class _BuggyBroker(MemoryBroker):
    """A broker whose client cannot publish a dead letter that carries anything of the message."""

    async def dead_letter(self, message: Message, reason: Mapping[str, Any]) -> None:
        if message.headers or "dl-event-id" in reason:
            raise RuntimeError("a bug")
        await super().dead_letter(message, reason)


def test_the_last_resort_dead_letters_the_raw_body() -> None:
    """The dead letter has only the reason as headers, since the message's own headers may be the cause."""
    world = World()
    world.broker = _BuggyBroker(world.steady, MESSAGE_SETTINGS.limits.delays)
    world.start()
    handle(world, Message(b"{", None, {"own": 1}))
    [dead] = world.broker.dead
    assert (Message(b"{"), "bug", "q") == (
        dead.message,
        dead.reason["dl-code"],
        dead.reason["dl-source-queue"],
    )
    assert ["failed"] == [each.kind for each in world.handled]
    assert ["backup.failed"] == list(world.published())


def test_a_message_that_cannot_be_delayed_ends_as_failed() -> None:
    """Every event that is dead-lettered has an outcome, also after a bug in the delay."""

    class Buggy(MemoryBroker):
        async def delay(self, body: bytes, *, seconds: float) -> None:
            raise RuntimeError("a bug")

    world = World()
    world.api.fail("create", ApiError(Category.UNAVAILABLE, "down", status=503))
    world.broker = Buggy(world.steady, MESSAGE_SETTINGS.limits.delays)
    world.start()
    assert ["backup.failed"] == handle(world, message(1))
    assert "bug" == failure(world).code
    assert 1 == len(world.broker.dead)


def test_a_message_is_handled_once_though_a_hook_raises() -> None:
    """An error in the metrics hook does not dead-letter a message whose outcome is published."""
    world = World()

    def notify(_: object) -> None:
        raise RuntimeError("a bug")

    process = Process(
        services=world.services(), outbox=world.broker, selection=world.selection, notify=notify
    )

    async def body() -> None:
        assert "accepted" == (await process.handle(world.receiver.receive(message(1)))).kind

    run(body)
    assert [] == world.broker.dead


@pytest.mark.parametrize("field", ["attempts", "waits", "crashes", "lookups"])
def test_a_message_with_a_count_at_its_maximum_is_handled(field: str) -> None:
    """A count at its maximum still fits into a waiting message after one more delay."""
    world = World(settings=MESSAGE_SETTINGS._replace(crash_limit=10_000_000))
    world.api.fail("create", ApiError(Category.UNAVAILABLE, "down", status=503))
    full: dict[str, Any] = {field: 1_000_000}
    state = State(world.clock.now, **full)
    assert MADE == handle(world, Message(wrap(message(1), state, event_id="e", keys=world.keys)))


def test_a_poison_message_is_published_before_the_broker_dead_letters_it() -> None:
    """At the broker's own delivery limit the message would be dead-lettered without an outcome."""
    deadly = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit})
    world = World()

    assert ["backup.failed"] == handle(world, deadly)
    assert "poison" == failure(world).code
    assert 0 == world.api.calls["create"]
    assert 1 == len(world.broker.dead)


def test_the_final_delivery_publishes_a_recorded_backup() -> None:
    """After twenty lost connections the final delivery publishes the recorded backup and its end."""

    async def body() -> None:
        world = World()
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit)
        assert MADE == list(await world.run())
        assert [] == world.broker.dead
        assert 1 == world.api.calls["create"]

    run(body)


def test_the_final_delivery_publishes_a_recorded_end() -> None:
    """The final delivery publishes the recorded refusal, and not ``poison``."""

    async def body() -> None:
        world = World()
        world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit)
        assert ["backup.failed"] == list(await world.run())
        assert Category.REFUSED == failure(world).category

    run(body)


def test_a_replay_that_crashes_does_not_repeat_the_error_before_it() -> None:
    """The earlier ``backup_error`` is why the event was replayed, and not why the replay fails."""

    async def body() -> None:
        world = World()
        world.api.end_in_error("the driver said no")
        await world.run(message(1))
        letter = replayed(world.broker.dead[0].message, world, "replay-1")
        await world.run(letter._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit}))
        assert ["backup_error", "invalid"] == [each.reason["dl-category"] for each in world.broker.dead]

    run(body)


def test_tracking_that_crashes_is_given_up() -> None:
    """A tracked backup is not looked up at the final delivery, since that lookup could crash again."""

    async def body() -> None:
        world = World(steps=Steps(deadly="before show"))
        assert ["backup.accepted", "backup.failed"] == list(await world.run(message(1)))
        assert "poison" == failure(world).code

    run(body)


def test_a_copy_of_a_given_up_event_publishes_the_same_outcome() -> None:
    """One event has one end, although the copy could succeed."""

    async def body() -> None:
        world = World()
        deadly = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit})
        assert ["backup.failed"] == list(await world.run(deadly))
        await world.run(message(1))
        assert 1 == len({outcome.id for outcome in world.outcomes})
        assert 2 == len(world.outcomes)

    run(body)


def test_the_broker_dead_letters_a_message_that_came_back_too_often() -> None:
    """Like a quorum queue, the twin dead-letters without an outcome and without ``dl-`` headers."""

    async def body() -> None:
        world = World()
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit + 1)
        assert [{}] == [letter.reason for letter in world.broker.dead]
        assert [] == list(await world.run())

    run(body)


async def _lose(world: World, *, times: int) -> None:
    """Deliver the message so many times over a connection that is lost before anything is published."""
    for _ in range(times):
        world.broker.lost = True
        await world.deliver()


@pytest.mark.parametrize("step", ["before claim", "after claim", "before create", "before created"])
def test_a_poison_message_ends_wherever_it_crashes(step: str) -> None:
    """After each crash the message waits for the old claim to end, and its crash count must not restart."""

    async def body() -> None:
        world = World(steps=Steps(deadly=step))
        assert ["backup.failed"] == list(await world.run(message(1)))
        assert "poison" == failure(world).code
        assert MESSAGE_SETTINGS.crash_limit == len(world.crashes)
        assert 1 == len(world.broker.dead)
        assert 1 >= len(world.api.backups)

    run(body)


def test_a_message_that_came_back_less_often_is_handled() -> None:
    """A message may also be redelivered because the process ended for another reason."""
    returned = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit - 1})

    assert MADE == handle(World(), returned)


def test_a_cancelled_message_keeps_its_doubt() -> None:
    """If a drain runs out of time, the next worker looks the backup up before it sends a request."""

    async def body() -> None:
        world = World()
        started = asyncio.Event()

        class Hanging(MemoryApi):
            async def create(self, project_id: str, request: BackupRequest) -> Any:
                await super().create(project_id, request)
                started.set()
                await asyncio.Event().wait()

        world.api = Hanging(world.steady)
        world.start()
        task = asyncio.create_task(world.process.handle(world.receiver.receive(message(1))))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        backups = world.api.backups
        world.api = MemoryApi(world.steady, backups=backups)
        await world.restart()
        assert MADE == list(await world.run(message(1)))
        assert 1 == len(backups)

    run(body)


def test_the_twin_shows_backups_as_the_port_says() -> None:
    """The twin returns a ``Backup`` of the port, as the tests above expect."""

    async def body() -> None:
        world = World()
        await world.run(message(1))
        [found] = await world.api.find(PROJECT, made_up_id("volume", 1), made_up_id("snapshot", 1), "x")
        assert isinstance(found, Backup)

    run(body)
