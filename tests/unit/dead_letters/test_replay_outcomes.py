"""Tests of what a replay counts, and of what it waits for."""

import asyncio

import pytest

from handler.dead_letters import replay_outcomes as module
from handler.dead_letters.replay_outcomes import MIN_SAMPLE, ReplayOutcomes

ACCEPTED, COMPLETED, FAILED, SKIPPED = (
    f"backup.{each}" for each in ("accepted", "completed", "failed", "skipped")
)


def expecting(*names: str, threshold: float | None = None, tracked: bool = True) -> ReplayOutcomes:
    """Return the outcomes of a replay of these events."""
    found = ReplayOutcomes(threshold, tracked=tracked)
    for name in names:
        found.expect(name)
    return found


def test_an_accepted_backup_has_no_end_yet() -> None:
    """Accepted, completed and failed are counted apart; an event that was accepted may still fail."""
    found = expecting("a", "b", "c", "d")
    for name in ("a", "b"):
        found.record(name, ACCEPTED)
    assert (2, 0, 0, 4) == (found.accepted, found.completed, found.failed, found.unfinished)
    found.record("a", COMPLETED)
    found.record("b", FAILED)
    found.record("c", SKIPPED)
    counts = (found.accepted, found.completed, found.failed, found.skipped, found.unfinished)
    assert (2, 1, 1, 1, 1) == counts


def test_an_outcome_that_is_published_again_counts_once() -> None:
    """Outcomes may be repeated under the same id."""
    found = expecting("a")
    for outcome in (ACCEPTED, ACCEPTED, COMPLETED, COMPLETED, FAILED):
        found.record("a", outcome)
    assert (1, 1, 0) == (found.accepted, found.completed, found.failed)


def test_without_tracking_an_acceptance_is_the_end() -> None:
    """With TRACK_BACKUPS=false no other outcome follows."""
    found = expecting("a", tracked=False)
    found.record("a", ACCEPTED)
    assert (1, 0, 0) == (found.accepted, found.completed, found.unfinished)


def test_a_threshold_judges_the_ends_of_tracked_backups() -> None:
    """Backups that are accepted and then fail are failures; that they were accepted is no success."""
    names = [str(number) for number in range(3 * MIN_SAMPLE)]
    found = expecting(*names, threshold=0.2)
    for name in names:
        found.record(name, ACCEPTED)
    assert not found.too_many_failures
    for name in names[:MIN_SAMPLE]:
        found.record(name, FAILED)
    assert found.too_many_failures


def wait(work: object) -> None:
    """Run a wait that ends by itself."""
    asyncio.run(asyncio.wait_for(work, 30))  # type: ignore[arg-type]


def test_a_wait_for_ends_is_not_over_at_the_acceptance() -> None:
    """It goes on until the terminal outcome of each event."""
    found = expecting("a")

    async def body() -> None:
        waiting = asyncio.create_task(found.wait_for_ends(asyncio.Event()))
        found.record("a", ACCEPTED)
        await asyncio.sleep(0.05)
        assert not waiting.done()
        found.record("a", COMPLETED)
        await waiting

    wait(body())


def test_a_signal_ends_a_wait_for_ends() -> None:
    """What has no end then is counted."""
    found, stop = expecting("a"), asyncio.Event()
    stop.set()
    wait(found.wait_for_ends(stop))
    assert 1 == found.unfinished


def test_events_without_an_answer_hold_back_others_only_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may wait for hours; their outcomes are counted all the same when they come."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.01)
    monkeypatch.setattr(module, "MAX_UNANSWERED", 1)
    found = expecting("a", threshold=0.2)
    wait(found.wait_for_room(asyncio.Event()))
    wait(found.wait_for_answers(asyncio.Event()))
    found.record("a", FAILED)
    assert (1, 0) == (found.failed, found.unfinished)


def test_backups_in_progress_hold_back_others_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup takes minutes: the short time is that for a first answer."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT", 0.01)
    monkeypatch.setattr(module, "MAX_UNANSWERED", 1)
    found = expecting("a", threshold=0.2)
    found.record("a", ACCEPTED)

    async def body() -> None:
        room = asyncio.create_task(found.wait_for_room(asyncio.Event()))
        await asyncio.sleep(0.2)
        assert not room.done()
        found.record("a", COMPLETED)
        await room

    wait(body())
