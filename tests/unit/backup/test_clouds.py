"""Several clouds: which one a message goes to, and how many messages of each are in hand."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from events.outcome import Category
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.clouds import Breakers, Cloud, Clouds
from handler.backup.evidence import Place
from handler.errors import ApiError
from tests.twins.api import MemoryApi
from tests.twins.clock import Clock

FULL = 2
OUTAGE = ScopedFailure("service", "503 down", Place("create", "p"))


def cloud(name: str, clock: Clock, learn: Callable[[], Awaitable[str | None]] | None = None) -> Cloud:
    """Return a cloud for two messages in hand, whose project is its name."""

    async def named() -> str | None:
        return name

    breaker = CircuitBreaker(FULL, clock, doubt_pause=5.0)
    return Cloud(name, MemoryApi(clock), breaker, learn or named, clock)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that the test advances."""
    return Clock()


@pytest.fixture
def clouds(clock: Clock) -> Clouds:
    """Return three clouds whose projects are not known yet."""
    return Clouds([cloud(name, clock) for name in ("a", "b", "c")], delays=(5, 30))


async def learned(clouds: Clouds) -> None:
    """Let the clouds learn their projects."""
    clouds.learn()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_a_project_goes_to_its_cloud_and_an_unknown_one_to_the_first(clouds: Clouds) -> None:
    """The first cloud is the default."""

    async def body() -> None:
        await learned(clouds)
        names = [found and found.name for found in map(clouds.of, ("b", "c", "stranger"))]
        assert ["b", "c", "a"] == names
        assert "b" == clouds.name_of("b")

    asyncio.run(body())


def test_an_unknown_project_waits_for_a_cloud_that_may_have_it(clock: Clock) -> None:
    """A refused sign-in is tried again after a pause, and no event goes to a wrong cloud meanwhile."""
    asked = []

    async def refused() -> str | None:
        asked.append(clock())
        raise ApiError(Category.UNAVAILABLE, "sign-in: down")

    clouds = Clouds([cloud("a", clock), cloud("b", clock, refused)], delays=(5, 30))

    async def body() -> None:
        for _ in range(3):
            await learned(clouds)
        assert (None, "") == (clouds.of("stranger"), clouds.name_of("stranger"))
        assert (found := clouds.of("a")) is not None
        assert found.name == "a"
        clock.advance(60.0)
        await learned(clouds)
        assert 2 == len(asked)

    asyncio.run(body())


def test_a_project_of_two_clouds_goes_to_the_first_and_is_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names both clouds, once."""

    async def same() -> str | None:
        return "p"

    clouds = Clouds([cloud("a", clock, same), cloud("b", clock, same)], delays=(5, 30))

    async def body() -> None:
        await learned(clouds)
        assert {"a"} == {found.name for found in (clouds.of("p"), clouds.of("p")) if found}

    asyncio.run(body())
    assert 1 == sum(getattr(each, "action", "") == "cloud.same_project" for each in caplog.records)


def test_a_place_is_given_to_the_message_that_waits_longest(clock: Clock) -> None:
    """A message waits for its turn while the cloud's messages move."""
    one = cloud("a", clock)

    async def body() -> None:
        assert [True, True] == [await one.enter(), await one.enter()]
        waiting = [asyncio.create_task(one.enter()) for _ in range(2)]
        await asyncio.sleep(0)
        one.leave()
        for _ in range(3):
            await asyncio.sleep(0)
        assert [True, False] == [each.done() for each in waiting]
        one.leave()
        assert [True, True] == await asyncio.gather(*waiting)
        assert FULL == one.in_hand

    asyncio.run(body())


def test_a_cloud_that_hangs_has_no_place_for_more(clock: Clock) -> None:
    """When nothing has moved for a second, no message waits for a turn."""
    one = cloud("a", clock)

    async def body() -> None:
        assert [True, True] == [await one.enter(), await one.enter()]
        clock.advance(2.0)
        assert not await one.enter()

    asyncio.run(body())


def test_a_cloud_that_probes_takes_one_message(clock: Clock) -> None:
    """After its pause one message at a time probes; the others are parked."""
    one = cloud("a", clock)

    async def body() -> None:
        one.breaker.record_failure(OUTAGE)
        clock.advance(one.breaker.pause_left())
        assert [True, False] == [await one.enter(), await one.enter()]

    asyncio.run(body())


def test_consuming_stops_only_while_every_cloud_fails(clouds: Clouds, clock: Clock) -> None:
    """One cloud that is fine keeps the worker consuming, at the concurrency of all."""
    breakers = Breakers(clouds.clouds)
    first, *others = (each.breaker for each in clouds.clouds)
    for each in others:
        each.record_failure(OUTAGE)
    assert ("closed", None, 0.0, 3 * FULL) == (
        breakers.state,
        breakers.why,
        breakers.pause_left(),
        breakers.limit,
    )
    first.record_failure(OUTAGE)
    assert ("open", "unavailable", 0) == (breakers.state, breakers.why, breakers.limit)
    clock.advance(breakers.pause_left())
    assert ("half_open", 3) == (breakers.state, breakers.limit)
