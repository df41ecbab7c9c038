"""How fast dead letters go back, and when failures stop the rest."""

import asyncio

import pytest

from handler.dead_letters import verdicts as verdicts_module
from handler.dead_letters.pace import Pace
from handler.dead_letters.verdicts import FEWEST, Verdicts


def test_a_pace_is_even_and_exact() -> None:
    """200 turns at 1,000 a second take 0.2 s, and never less."""

    async def run() -> float:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        pace, start = Pace(1000, loop.time), loop.time()
        for _ in range(201):
            await pace.turn(stop)
        return loop.time() - start

    assert asyncio.run(run()) >= 0.2


def test_a_stop_ends_the_wait_for_a_turn() -> None:
    """At one an hour nobody waits for an hour."""

    async def run() -> None:
        stop = asyncio.Event()
        pace = Pace(1 / 3600)
        await pace.turn(stop)
        stop.set()
        await asyncio.wait_for(pace.turn(stop), 5)

    asyncio.run(run())


def test_a_long_delay_is_not_made_up_for_by_a_burst() -> None:
    """After a pause of a minute at 100 a second no 6,000 go at once, but those of one second."""

    async def run() -> int:
        now = 0.0
        stop = asyncio.Event()
        stop.set()  # a turn that would have to wait returns at once
        pace = Pace(100, lambda: now)
        now = 60.0
        turns = 0
        while pace._due <= now:
            await pace.turn(stop)
            turns += 1
        return turns

    assert 102 >= asyncio.run(run())


def answered(verdicts: Verdicts, *, failed: int, good: int) -> Verdicts:
    """Verdicts that have heard so many answers."""
    for number in range(failed + good):
        verdicts.expect(str(number))
        verdicts.hear(str(number), "backup.failed" if number < failed else "backup.accepted")
    return verdicts


def test_failures_beyond_the_threshold_stop_the_rest() -> None:
    """A share is passed, not reached."""
    assert answered(Verdicts(0.2), failed=3, good=7).passed
    assert not answered(Verdicts(0.2), failed=2, good=8).passed


def test_too_few_answers_prove_nothing() -> None:
    """The first failure is not 100 %."""
    assert not answered(Verdicts(0.2), failed=FEWEST - 1, good=0).passed


def test_without_a_threshold_nothing_stops() -> None:
    """Failures are only counted."""
    verdicts = answered(Verdicts(), failed=50, good=0)

    assert (False, 50) == (verdicts.passed, verdicts.failed)


def test_only_the_first_answer_to_one_of_ours_counts() -> None:
    """Other people's outcomes, and the second of the same event, say nothing."""
    verdicts = Verdicts(0.2)
    verdicts.expect("ours")
    for event_id in ("ours", "ours", "another", None):
        verdicts.hear(event_id, "backup.accepted")

    assert (1, 0) == (verdicts.good, verdicts.failed)


def test_few_go_ahead_of_their_answers_where_failures_are_to_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room again with the next answer, or when none has come for a while."""
    monkeypatch.setattr(verdicts_module, "AHEAD", 2)

    async def run() -> bool:
        verdicts, stop = Verdicts(0.2), asyncio.Event()
        verdicts.expect("a")
        verdicts.expect("b")
        room = asyncio.create_task(verdicts.room(stop))
        await asyncio.sleep(0)
        waited = not room.done()
        verdicts.hear("a", "backup.accepted")
        await asyncio.wait_for(room, 5)
        return waited

    assert asyncio.run(run())


def test_who_waits_for_answers_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an outage nothing is answered."""
    monkeypatch.setattr(verdicts_module, "PATIENCE", 0.01)

    async def run() -> None:
        verdicts = Verdicts(0.2)
        verdicts.expect("a")
        await asyncio.wait_for(verdicts.settled(asyncio.Event()), 5)

    asyncio.run(run())
