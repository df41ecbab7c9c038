"""How fast dead letters go back, and when failures stop the rest."""

import asyncio

import pytest

from handler.dead_letters import replay_outcomes as replay_outcomes_module
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import MIN_SAMPLE, ReplayOutcomes


def test_a_pace_is_even_and_exact() -> None:
    """200 turns at 1,000 a second take 0.2 s, and never less."""

    async def run() -> float:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        rate_limiter, start = RateLimiter(1000, loop.time), loop.time()
        for _ in range(201):
            await rate_limiter.acquire(stop)
        return loop.time() - start

    assert asyncio.run(run()) >= 0.2


def test_a_stop_ends_the_wait_for_a_turn() -> None:
    """At one an hour nobody waits for an hour."""

    async def run() -> None:
        stop = asyncio.Event()
        rate_limiter = RateLimiter(1 / 3600)
        await rate_limiter.acquire(stop)
        stop.set()
        await asyncio.wait_for(rate_limiter.acquire(stop), 5)

    asyncio.run(run())


def test_a_long_delay_is_not_made_up_for_by_a_burst() -> None:
    """After a pause of a minute at 100 a second no 6,000 go at once, but those of one second."""

    async def run() -> int:
        now = 0.0
        stop = asyncio.Event()
        stop.set()  # a turn that would have to wait returns at once
        rate_limiter = RateLimiter(100, lambda: now)
        now = 60.0
        turns = 0
        while rate_limiter._due <= now:
            await rate_limiter.acquire(stop)
            turns += 1
        return turns

    assert 102 >= asyncio.run(run())


def answered(replay_outcomes: ReplayOutcomes, *, failed: int, good: int) -> ReplayOutcomes:
    """Verdicts that have heard so many answers."""
    for number in range(failed + good):
        replay_outcomes.expect(str(number))
        replay_outcomes.record(str(number), "backup.failed" if number < failed else "backup.accepted")
    return replay_outcomes


def test_failures_beyond_the_threshold_stop_the_rest() -> None:
    """A share is passed, not reached."""
    assert answered(ReplayOutcomes(0.2), failed=3, good=7).too_many_failures
    assert not answered(ReplayOutcomes(0.2), failed=2, good=8).too_many_failures


def test_too_few_answers_prove_nothing() -> None:
    """The first failure is not 100 %."""
    assert not answered(ReplayOutcomes(0.2), failed=MIN_SAMPLE - 1, good=0).too_many_failures


def test_without_a_threshold_nothing_stops() -> None:
    """Failures are only counted."""
    replay_outcomes = answered(ReplayOutcomes(), failed=50, good=0)

    assert (False, 50) == (replay_outcomes.too_many_failures, replay_outcomes.failed)


def test_only_the_first_answer_to_one_of_ours_counts() -> None:
    """Other people's outcomes, and the second of the same event, say nothing."""
    replay_outcomes = ReplayOutcomes(0.2)
    replay_outcomes.expect("ours")
    for event_id in ("ours", "ours", "another", None):
        replay_outcomes.record(event_id, "backup.accepted")

    assert (1, 0) == (replay_outcomes.good, replay_outcomes.failed)


def test_few_go_ahead_of_their_answers_where_failures_are_to_stop_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room again with the next answer, or when none has come for a while."""
    monkeypatch.setattr(replay_outcomes_module, "MAX_UNANSWERED", 2)

    async def run() -> bool:
        replay_outcomes, stop = ReplayOutcomes(0.2), asyncio.Event()
        replay_outcomes.expect("a")
        replay_outcomes.expect("b")
        room = asyncio.create_task(replay_outcomes.wait_for_room(stop))
        await asyncio.sleep(0)
        waited = not room.done()
        replay_outcomes.record("a", "backup.accepted")
        await asyncio.wait_for(room, 5)
        return waited

    assert asyncio.run(run())


def test_who_waits_for_answers_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an outage nothing is answered."""
    monkeypatch.setattr(replay_outcomes_module, "ANSWER_TIMEOUT", 0.01)

    async def run() -> None:
        replay_outcomes = ReplayOutcomes(0.2)
        replay_outcomes.expect("a")
        await asyncio.wait_for(replay_outcomes.wait_for_answers(asyncio.Event()), 5)

    asyncio.run(run())
