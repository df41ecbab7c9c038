"""The supervisor over twins of worker processes: starts, ends, restarts and the stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from handler.status.server import healthy
from handler.supervisor import restarts, supervisor
from handler.supervisor.child import Child
from handler.supervisor.supervisor import Supervisor
from tests.patience import patient
from tests.unit.supervisor.twins import TwinChild

ANSWERS = {"/healthz": healthy()}


class World:
    """A supervisor, and every worker process that it has started."""

    def __init__(self, count: int, *, drain_seconds: float = 1000.0, rng: Random | None = None) -> None:
        self.children: list[TwinChild] = []
        self.retired: list[int] = []
        self.make: Callable[[int], TwinChild] = lambda number: TwinChild(number, ANSWERS)
        self.supervisor = Supervisor(
            count, self.start, drain_seconds=drain_seconds, retired=self.retired.append, rng=rng
        )

    async def start(self, number: int) -> Child:
        """Start a worker process."""
        child = self.make(number)
        self.children.append(child)
        return child.as_child()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        while not condition():  # noqa: ASYNC110 - for any condition
            await asyncio.sleep(0.001)

    async def started(self, count: int) -> None:
        """Wait until so many worker processes have been started."""
        await self.until(lambda: len(self.children) >= count)


def run(world_of: Callable[[], World], story: Callable[[World], Awaitable[None]]) -> tuple[World, int]:
    """Run a supervisor beside a story; return the world and the exit code."""

    async def both() -> tuple[World, int]:
        world = world_of()
        async with asyncio.timeout(patient(30)):
            running = asyncio.create_task(world.supervisor.run())
            await story(world)
            return world, await running

    return asyncio.run(both())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "_MARGIN_SECONDS", 0.01)


def test_all_processes_are_started_and_stopped() -> None:
    """Each gets SIGTERM, and the exit code is 0."""

    async def story(world: World) -> None:
        await world.started(3)
        world.supervisor.stop()

    world, code = run(lambda: World(3), story)
    assert (0, [1, 2, 3]) == (code, [child.number for child in world.children])
    assert [[signal.SIGTERM]] * 3 == [child.sent for child in world.children]


def test_the_others_start_when_the_first_has_answered() -> None:
    """What the first one refuses, the others need not refuse too."""

    async def story(world: World) -> None:
        world.make = TwinChild
        await world.started(1)
        first = world.children[0]
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert 1 == len(world.children)
        world.make = lambda number: TwinChild(number, ANSWERS)
        first.end(1)
        await world.started(3)
        world.supervisor.stop()

    world, _ = run(lambda: World(2), story)
    assert [1, 1, 2] == [child.number for child in world.children]


def test_a_process_that_ended_is_started_again_in_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """One line says which one ended, how, and when it is started again; its counts are kept."""
    caplog.set_level(logging.WARNING)

    async def story(world: World) -> None:
        await world.started(2)
        world.children[1].end(-signal.SIGSEGV)
        await world.started(3)
        world.supervisor.stop()

    world, code = run(lambda: World(2), story)
    assert (0, [1, 2, 2], 1) == (code, [child.number for child in world.children], world.supervisor.restarts)
    (line,) = caplog.messages
    assert line.startswith("worker 2 was ended by SIGSEGV after 0.0 s; it is started again in 0.0")
    assert 2 == world.retired[0]


@pytest.mark.parametrize("which", [0, 1])
def test_a_process_that_refuses_its_settings_ends_the_whole(which: int) -> None:
    """The others are stopped orderly, and the exit code is that of wrong settings."""

    async def story(world: World) -> None:
        await world.started(2)
        world.children[which].end(2)

    world, code = run(lambda: World(2), story)
    assert (2, 2, 0) == (code, len(world.children), world.supervisor.restarts)
    assert [signal.SIGTERM] == world.children[1 - which].sent


def test_a_process_that_does_not_end_is_killed() -> None:
    """It has DRAIN_SECONDS and a second; what it has in hand is delivered again."""

    async def story(world: World) -> None:
        world.make = lambda number: TwinChild(number, ANSWERS, stubborn=True)
        await world.started(2)
        world.supervisor.stop()

    world, code = run(lambda: World(2, drain_seconds=0.0), story)
    assert (0, [[signal.SIGTERM, signal.SIGKILL]] * 2) == (code, [child.sent for child in world.children])


def test_a_second_stop_kills_at_once() -> None:
    """It does not wait for DRAIN_SECONDS, which are a quarter of an hour here."""

    async def story(world: World) -> None:
        world.make = lambda number: TwinChild(number, ANSWERS, stubborn=True)
        await world.started(2)
        world.supervisor.stop()
        await world.until(lambda: bool(world.children[1].sent))
        world.supervisor.stop()

    world, _ = run(lambda: World(2), story)
    assert [[signal.SIGTERM, signal.SIGKILL]] * 2 == [child.sent for child in world.children]


def test_a_stop_ends_the_wait_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for its start is not started any more."""
    monkeypatch.setattr(restarts, "_FIRST_SECONDS", 1000.0)
    monkeypatch.setattr(restarts, "_LONGEST_SECONDS", 1000.0)

    async def story(world: World) -> None:
        await world.started(1)
        world.children[0].end(1)
        await world.until(lambda: world.supervisor.restarts == 1)
        world.supervisor.stop()

    world, code = run(lambda: World(1), story)
    assert (0, 1) == (code, len(world.children))


def test_a_process_whose_start_meets_the_stop_is_stopped() -> None:
    """No process is left behind that was being started when the signal came."""
    go = asyncio.Event()

    class Slow(World):
        async def start(self, number: int) -> Child:
            self.supervisor.stop()
            await go.wait()
            return await super().start(number)

    async def story(world: World) -> None:
        await world.until(world.supervisor._stop.is_set)
        go.set()

    world, code = run(lambda: Slow(1), story)
    assert (0, [signal.SIGTERM]) == (code, world.children[0].sent)


def test_a_process_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The machine may have no memory or no process left for the moment."""

    class Full(World):
        tries = 0

        async def start(self, number: int) -> Child:
            self.tries += 1
            if self.tries < 3:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return await super().start(number)

    async def story(world: World) -> None:
        await world.started(1)
        world.supervisor.stop()

    world, code = run(lambda: Full(1), story)
    assert (0, 1) == (code, len(world.children))
    assert "worker 1 cannot be started: [Errno 11] Resource temporarily unavailable" in caplog.messages


def test_an_error_of_the_supervisor_leaves_no_process_behind() -> None:
    """An error within the program ends all, and is raised."""

    async def story(world: World) -> None:
        await world.started(2)

        def fail(_number: int) -> TwinChild:
            raise ValueError("on purpose")

        world.make = fail
        world.children[0].end(1)

    children: list[TwinChild] = []

    def world_of() -> World:
        world = World(2)
        world.children = children
        return world

    with pytest.raises(ValueError, match="on purpose"):
        run(world_of, story)
    assert signal.SIGTERM in children[1].sent
