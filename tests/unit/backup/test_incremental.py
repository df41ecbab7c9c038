"""``incremental = "auto"``: the request depends on the backups that the volume has."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from events.outcome import Category
from handler.backup.rules import Rule
from handler.backup.selection import Selection
from handler.errors import ApiError
from tests.twins.api import CutBefore, DoneThen, Fault
from tests.twins.events import PROJECT, made_up_id, message
from tests.twins.steps import Steps
from tests.twins.world import MESSAGE_SETTINGS, LedgerKind, World
from tests.unit.backup.handling import replayed, waits

VOLUME = made_up_id("volume", 0)
UNAVAILABLE = ApiError(Category.UNAVAILABLE, "down", status=503)


ATTEMPTS = MESSAGE_SETTINGS.limits.max_attempts
MISSING = ApiError(Category.REFUSED, "no backups available", status=400, parent="missing")
BUSY = ApiError(Category.CONFLICT, "the parent must be available", status=400, parent="busy")


def world(*, incremental: object = "auto", **rule: object) -> World:
    """Return a world with one rule, which sets ``incremental = "auto"`` unless told otherwise."""
    rules = [Rule.model_validate({"set": {"incremental": incremental, **rule}})]
    return World(selection=Selection((), (), rules))


def handle(world: World, *numbers: int, **fields: Any) -> None:
    """Handle completed snapshots of one volume, one after the other."""

    async def body() -> None:
        for number in numbers:
            await world.run(message(number, volume_id=VOLUME, **fields))

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


def test_a_full_backup_follows_at_once_where_cinder_finds_no_parent() -> None:
    """The second request has the first one's name, costs no wait, and is one attempt with it."""
    auto = world()
    handle(auto, 1)
    auto.api.fail("create", MISSING)

    handle(auto, 2)

    assert [False, False] == asked_for(auto)
    assert 3 == auto.api.calls["create"]
    assert f"nightly-2-{made_up_id('snapshot', 2)}" == auto.api.backups[1].request.name
    assert [] == waits(auto)
    assert {1} == {outcome.data.attempts for outcome in auto.outcomes}


def test_a_falsified_refusal_makes_no_second_backup() -> None:
    """If the incremental backup was made and something on the way says that it was not, it is found."""
    auto = world()
    handle(auto, 1)
    auto.api.fail("create", DoneThen(MISSING))

    handle(auto, 2)

    assert [False, True] == asked_for(auto)
    assert ["backup.accepted", "backup.completed"] * 2 == auto.published()


def test_the_full_backup_waits_for_an_answered_lookup() -> None:
    """If the lookup after the refusal fails, no request is sent; the next delivery begins with a lookup."""
    auto = world()
    handle(auto, 1)
    auto.api.fail("create", DoneThen(MISSING))
    # The first two lookups are of the parents.
    auto.api.rule = lambda call, *_: UNAVAILABLE if (call, auto.api.calls[call]) == ("find", 3) else None

    handle(auto, 2)

    assert [False, True] == asked_for(auto)
    assert "pause" in [each.reason for each in auto.handled]


def test_a_refused_full_backup_is_refused_for_good() -> None:
    """Cinder's text about a parent ends a full backup's request like any other refusal."""
    auto = world()
    handle(auto, 1)
    auto.api.fail("create", MISSING, MISSING)

    handle(auto, 2)

    assert (3, ["refused"]) == (auto.api.calls["create"], [each.category for each in auto.handled[-1:]])


def test_a_parent_in_progress_is_waited_for() -> None:
    """While the volume has a backup in progress, the incremental one waits for it as the text asks."""
    auto = world()
    handle(auto, 1)
    auto.advance(60)

    async def both() -> None:
        other = await auto.api.create(PROJECT, auto.api.backups[0].request)
        auto.api.stuck.add(other.id)
        auto.api.fail("create", BUSY)
        await auto.run(message(2, volume_id=VOLUME))

    asyncio.run(both())
    assert True is auto.api.backups[-1].request.incremental
    assert "retry" in [each.reason for each in auto.handled]


def test_a_parent_that_never_becomes_available_is_not_waited_for() -> None:
    """Where the newest backup is in error and none is in progress, a full one follows at once."""
    auto = world()
    auto.api.ends.extend([("available", None), ("error", "no space")])
    handle(auto, 1, 2)
    auto.api.fail("create", BUSY)

    handle(auto, 3)

    assert [False, True, False] == asked_for(auto)
    assert "retry" not in [each.reason for each in auto.handled]


def test_the_last_attempt_makes_a_full_backup() -> None:
    """A parent that stays in progress until the attempts run out costs no failure."""
    auto = world()
    handle(auto, 1)
    auto.advance(60)

    async def both() -> None:
        other = await auto.api.create(PROJECT, auto.api.backups[0].request)
        auto.api.rule = lambda call, _project, snapshot: (
            BUSY if call == "create" and auto.api.calls["create"] < 3 + ATTEMPTS else None
        )
        auto.api.stuck.add(other.id)
        await auto.run(message(2, volume_id=VOLUME))

    asyncio.run(both())
    assert ([False, False, False], ATTEMPTS) == (asked_for(auto), auto.outcomes[-1].data.attempts)


@pytest.mark.parametrize(("every", "expected"), [(1, "FFFFF"), (2, "FiFiF"), (3, "FiiFi"), (9, "Fiiii")])
def test_each_nth_backup_of_a_volume_is_full(every: int, expected: str) -> None:
    """``full_every`` counts the backups that the API shows, so another worker goes on with the count."""
    auto = world(full_every=every)

    for number in range(len(expected)):
        handle(auto, number)
        auto.start()

    assert expected == "".join("i" if each else "F" for each in asked_for(auto))


def test_a_volume_that_has_grown_gets_a_full_backup() -> None:
    """Cinder's drivers fail an incremental backup of a volume that is larger than the parent."""
    auto = world()

    handle(auto, 1, 2, size_gb=1)
    handle(auto, 3, size_gb=2)

    assert [False, True, False] == asked_for(auto)


def test_the_replay_of_an_incremental_backup_in_error_makes_a_full_one() -> None:
    """What was wrong with the chain is not known, so the replay does not build on it."""
    auto = world()
    auto.api.ends.extend([("available", None), ("error", "Hash block size has changed. Do a full backup.")])
    handle(auto, 1, 2)

    async def replay() -> None:
        await auto.run(replayed(message(2, volume_id=VOLUME), auto, "r1"))

    asyncio.run(replay())
    assert [False, True, False] == asked_for(auto)
    assert "backup.completed" == auto.published()[-1]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("by_rule", ["auto", True, False])
def test_an_event_that_says_incremental_goes_before_the_rules(by_rule: object, own: bool) -> None:
    """The request has what the event says, and the API is not asked for a parent."""
    auto = world(incremental=by_rule)

    handle(auto, 1, backup={"incremental": own})

    assert ([own], 0) == (asked_for(auto), auto.api.calls["find"])


def test_an_event_that_says_incremental_gets_no_full_backup() -> None:
    """Without ``auto`` a missing parent is a refusal."""
    plain = world()
    plain.api.fail("create", MISSING)

    handle(plain, 1, backup={"incremental": True})

    assert (1, ["backup.failed"]) == (plain.api.calls["create"], plain.published())


@pytest.mark.parametrize("kind", ["memory", "none"])
@pytest.mark.parametrize("made", [False, True])
def test_a_crash_between_both_requests_makes_no_second_backup(
    kind: LedgerKind, made: bool, tmp_path: Path
) -> None:
    """A crash at any step between refusal and full backup leaves one backup of each snapshot."""
    for k in range(1, 100):
        folder = tmp_path / str(k)
        folder.mkdir()
        auto = asyncio.run(_crashed(kind, folder, k, DoneThen(MISSING) if made else MISSING))
        assert 2 == len(auto.api.backups), auto.crashes
        if not auto.crashes:
            assert 25 < k
            return
    raise AssertionError("every run crashed")


async def _crashed(kind: LedgerKind, folder: Path, k: int, refusal: Fault) -> World:
    rule = Rule.model_validate({"set": {"incremental": "auto"}})
    auto = World(kind=kind, folder=folder, selection=Selection((), (), [rule]), steps=Steps(crash_at=k))
    auto.api.rule = lambda call, _project, _snapshot: (
        refusal if call == "create" and auto.api.backups and auto.api.calls["create"] == 2 else None
    )
    try:
        for number in (1, 2):
            await auto.run(message(number, volume_id=VOLUME))
    finally:
        await auto.aclose()
    return auto
