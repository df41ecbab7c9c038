"""``incremental = "auto"``: the request depends on the backups that the volume has."""

import asyncio

import pytest

from events.outcome import Category
from handler.backup.rules import Rule
from handler.backup.selection import Selection
from handler.errors import ApiError
from tests.twins.api import CutBefore
from tests.twins.events import made_up_id, message
from tests.twins.world import World

VOLUME = made_up_id("volume", 0)
UNAVAILABLE = ApiError(Category.UNAVAILABLE, "down", status=503)


def world() -> World:
    """Return a world with one rule, which sets ``incremental = "auto"``."""
    rule = Rule.model_validate({"set": {"incremental": "auto"}})
    return World(selection=Selection((), (), [rule]))


def handle(world: World, *numbers: int) -> None:
    """Handle completed snapshots of one volume, one after the other."""

    async def body() -> None:
        for number in numbers:
            await world.run(message(number, volume_id=VOLUME))

    asyncio.run(body())


def asked_for(world: World) -> list[bool | None]:
    """Return the ``incremental`` of each request, in order."""
    return [made.request.incremental for made in world.api.backups]


def test_the_first_backup_of_a_volume_is_full_and_the_next_incremental() -> None:
    """Only the first backup has no full backup to build on."""
    auto = world()

    handle(auto, 1, 2, 3)

    assert [False, True, True] == asked_for(auto)


def test_no_backup_builds_on_a_full_backup_that_ended_in_error() -> None:
    """The backup after one that ended in error is full again."""
    auto = world()
    auto.api.end_in_error("no space")

    handle(auto, 1, 2)

    assert [False, False] == asked_for(auto)


def test_without_a_rule_the_api_is_not_asked() -> None:
    """Without ``auto`` no lookup is made, and the request leaves ``incremental`` out."""
    plain = World()

    handle(plain, 1)

    assert (0, [None]) == (plain.api.calls["find"], asked_for(plain))


@pytest.mark.parametrize("trouble", [UNAVAILABLE, CutBefore()])
def test_no_request_is_sent_while_the_lookup_fails(trouble: ApiError | CutBefore) -> None:
    """If the lookup fails, the message waits without a counted attempt, and the lookup is repeated."""
    auto = world()
    auto.api.fail("find", trouble)

    async def once() -> None:
        auto.broker.publish(message(1, volume_id=VOLUME))
        await auto.deliver()
        assert (0, ["pause"]) == (auto.api.calls["create"], [each.reason for each in auto.handled])
        await auto.until_quiet()

    asyncio.run(once())
    assert [False] == asked_for(auto)
    assert {1} == {outcome.data.attempts for outcome in auto.outcomes}
    assert 2 == auto.api.calls["find"]
