"""The story where clocks are set, the program has bugs, or a message kills it, over twins in memory."""

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
    """An hour back, as by a wrong change of summer time, or forth: still one backup and one end."""

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
    """The live process does not renew what nobody settled."""

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
    """It is counted, like the message's own trouble."""
    world = _buggy_world(bugs=100)
    assert ["backup.failed"] == handle(world, message(1))
    assert "bug" == world.broker.dead[0].reason["dl-code"]


def test_a_bug_outside_the_story_buries_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left in hand it would come back for ever."""

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
    """Its headers are the reason alone, since those of the message may be what is wrong."""
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
    """An event that ends in the dead letters has an outcome, however it got there."""

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
    """Its outcome is published and its acknowledgement follows; metrics are not worth a dead letter."""
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
def test_a_count_that_is_full_is_handled(field: str) -> None:
    """One more is still one that a waiting message can carry."""
    world = World(settings=MESSAGE_SETTINGS._replace(crash_limit=10_000_000))
    world.api.fail("create", ApiError(Category.UNAVAILABLE, "down", status=503))
    full: dict[str, Any] = {field: 1_000_000}
    state = State(world.clock.now, **full)
    assert MADE == handle(world, Message(wrap(message(1), state, event_id="e", keys=world.keys)))


def test_a_deadly_message_is_told_before_the_broker_buries_it() -> None:
    """The broker's own delivery limit would end it without an outcome."""
    deadly = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit})
    world = World()

    assert ["backup.failed"] == handle(world, deadly)
    assert "poison" == failure(world).code
    assert 0 == world.api.calls["create"]
    assert 1 == len(world.broker.dead)


def test_the_last_word_on_a_made_backup_is_the_truth() -> None:
    """Connections that are lost before it can be told count like deaths, and the backup is there."""

    async def body() -> None:
        world = World()
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit)
        assert MADE == list(await world.run())
        assert [] == world.broker.dead
        assert 1 == world.api.calls["create"]

    run(body)


def test_the_last_word_on_an_end_is_that_end() -> None:
    """A refusal that could not be told for so long is told as what it is."""

    async def body() -> None:
        world = World()
        world.api.fail("create", ApiError(Category.REFUSED, "no", status=400))
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit)
        assert ["backup.failed"] == list(await world.run())
        assert Category.REFUSED == failure(world).category

    run(body)


def test_a_replay_that_kills_is_not_told_the_error_before_it() -> None:
    """That its backup had ended in error is why it was sent back, and not what is wrong now."""

    async def body() -> None:
        world = World()
        world.api.end_in_error("the driver said no")
        await world.run(message(1))
        letter = replayed(world.broker.dead[0].message, world, "replay-1")
        await world.run(letter._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit}))
        assert ["backup_error", "invalid"] == [each.reason["dl-category"] for each in world.broker.dead]

    run(body)


def test_a_watch_that_kills_is_given_up() -> None:
    """Its backup was told before; to ask once more how it is could be the death that nobody tells of."""

    async def body() -> None:
        world = World(steps=Steps(deadly="before show"))
        assert ["backup.accepted", "backup.failed"] == list(await world.run(message(1)))
        assert "poison" == failure(world).code

    run(body)


def test_a_copy_of_what_was_given_up_tells_the_same() -> None:
    """One event has one end, though this copy might do better."""

    async def body() -> None:
        world = World()
        deadly = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit})
        assert ["backup.failed"] == list(await world.run(deadly))
        await world.run(message(1))
        assert 1 == len({outcome.id for outcome in world.outcomes})
        assert 2 == len(world.outcomes)

    run(body)


def test_the_broker_buries_what_came_back_too_often() -> None:
    """The twin does as a quorum queue does: no outcome, and no headers of ours."""

    async def body() -> None:
        world = World()
        world.broker.publish(message(1))
        await _lose(world, times=MESSAGE_SETTINGS.crash_limit + 1)
        assert [{}] == [letter.reason for letter in world.broker.dead]
        assert [] == list(await world.run())

    run(body)


async def _lose(world: World, *, times: int) -> None:
    """Let the message come in so often over a connection that is gone when something is to be told."""
    for _ in range(times):
        world.broker.lost = True
        await world.deliver()


@pytest.mark.parametrize("step", ["before claim", "after claim", "before create", "before created"])
def test_a_deadly_message_ends_wherever_it_kills(step: str) -> None:
    """Between two deaths it waits for the dead one's claim to end, which must not begin the count anew."""

    async def body() -> None:
        world = World(steps=Steps(deadly=step))
        assert ["backup.failed"] == list(await world.run(message(1)))
        assert "poison" == failure(world).code
        assert MESSAGE_SETTINGS.crash_limit == len(world.crashes)
        assert 1 == len(world.broker.dead)
        assert 1 >= len(world.api.backups)

    run(body)


def test_a_message_that_came_back_less_often_is_handled() -> None:
    """Innocents come back too, when the process ends for another reason."""
    returned = message(1)._replace(headers={"x-delivery-count": MESSAGE_SETTINGS.crash_limit - 1})

    assert MADE == handle(World(), returned)


def test_a_cancelled_message_keeps_its_doubt() -> None:
    """A drain that ran out of time: who comes next looks first."""

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
    """What the tests above see is a ``Backup`` of the port."""

    async def body() -> None:
        world = World()
        await world.run(message(1))
        [found] = await world.api.find(PROJECT, made_up_id("volume", 1), made_up_id("snapshot", 1), "x")
        assert isinstance(found, Backup)

    run(body)
