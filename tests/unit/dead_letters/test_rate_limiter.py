"""The rate limiter, and the failure threshold of a replay."""

import asyncio

import pytest

from handler.dead_letters import replay_outcomes as replay_outcomes_module
from handler.dead_letters.rate_limiter import RateLimiter
from handler.dead_letters.replay_outcomes import MIN_SAMPLE, ReplayOutcomes


def test_a_rate_limiter_keeps_its_rate() -> None:
    """200 messages at 1,000 per second take at least 0.2 s."""

    async def run() -> float:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        rate_limiter, start = RateLimiter(1000, loop.time), loop.time()
        for _ in range(201):
            await rate_limiter.acquire(stop)
        return loop.time() - start

    assert asyncio.run(run()) >= 0.2


def test_a_stop_ends_the_wait_of_a_rate_limiter() -> None:
    """At one message per hour, ``acquire`` returns as soon as ``stop`` is set."""

    async def run() -> None:
        stop = asyncio.Event()
        rate_limiter = RateLimiter(1 / 3600)
        await rate_limiter.acquire(stop)
        stop.set()
        await asyncio.wait_for(rate_limiter.acquire(stop), 5)

    asyncio.run(run())


def test_a_rate_limiter_sends_no_burst_after_a_long_delay() -> None:
    """After a minute without messages at 100 per second, only those of one second go at once."""

    async def run() -> int:
        now = 0.0
        stop = asyncio.Event()
        stop.set()  # an acquire that would have to wait returns at once
        rate_limiter = RateLimiter(100, lambda: now)
        await rate_limiter.acquire(stop)
        now = 60.0
        acquired = 0
        while rate_limiter._due is not None and rate_limiter._due <= now:
            await rate_limiter.acquire(stop)
            acquired += 1
        return acquired

    assert 102 >= asyncio.run(run())


def test_a_rate_limiter_counts_from_the_first_message() -> None:
    """What passes between its making and the first message, such as a connection, is not caught up."""

    async def run() -> float:
        now = 0.0
        rate_limiter = RateLimiter(1, lambda: now)
        now = 0.9
        await rate_limiter.acquire(asyncio.Event())
        assert rate_limiter._due is not None
        return rate_limiter._due

    assert 1.9 == asyncio.run(run())


def answered(replay_outcomes: ReplayOutcomes, *, failed: int, good: int) -> ReplayOutcomes:
    """Record so many outcomes of expected events."""
    for number in range(failed + good):
        replay_outcomes.expect(str(number))
        replay_outcomes.record(str(number), "backup.failed" if number < failed else "backup.accepted")
    return replay_outcomes


def test_a_failure_rate_above_the_threshold_is_too_many_failures() -> None:
    """A failure rate equal to the threshold is not too many."""
    assert answered(ReplayOutcomes(0.2), failed=3, good=7).too_many_failures
    assert not answered(ReplayOutcomes(0.2), failed=2, good=8).too_many_failures


def test_too_few_outcomes_are_not_too_many_failures() -> None:
    """Fewer than ``MIN_SAMPLE`` outcomes are not compared with the threshold."""
    assert not answered(ReplayOutcomes(0.2), failed=MIN_SAMPLE - 1, good=0).too_many_failures


def test_without_a_threshold_there_are_never_too_many_failures() -> None:
    """Failures without a threshold are only counted."""
    replay_outcomes = answered(ReplayOutcomes(), failed=50, good=0)

    assert (False, 50) == (replay_outcomes.too_many_failures, replay_outcomes.failed)


def test_only_the_first_outcome_of_a_replayed_event_counts() -> None:
    """Outcomes of other events, and a second outcome of the same event, are ignored."""
    replay_outcomes = ReplayOutcomes(0.2)
    replay_outcomes.expect("ours")
    for event_id in ("ours", "ours", "another", None):
        replay_outcomes.record(event_id, "backup.accepted")

    assert (1, 0) == (replay_outcomes.accepted, replay_outcomes.failed)


def test_a_threshold_limits_the_messages_without_an_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``wait_for_room`` waits until the next outcome makes room."""
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


def test_waiting_for_outcomes_ends_after_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an outage no outcome arrives, and ``wait_for_answers`` returns all the same."""
    monkeypatch.setattr(replay_outcomes_module, "ANSWER_TIMEOUT", 0.01)

    async def run() -> None:
        replay_outcomes = ReplayOutcomes(0.2)
        replay_outcomes.expect("a")
        await asyncio.wait_for(replay_outcomes.wait_for_answers(asyncio.Event()), 5)

    asyncio.run(run())
