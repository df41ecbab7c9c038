"""What follows the end of a worker process."""

import signal
from itertools import pairwise
from random import Random

import pytest

from handler.supervisor.restarts import LONG_SECONDS, End, Restart, how, restart


def waits(count: int, rng: Random, *, code: int = 1, ran: float = 0.1) -> list[float]:
    """Return the waits after so many ends in a row."""
    row, found = 0, []
    for _ in range(count):
        decision = restart(End(code, ran), row, rng.random())
        assert decision is not None
        row = decision.row
        found.append(decision.seconds)
    return found


def test_waits_grow_from_end_to_end_within_bounds(rng: Random) -> None:
    """Each wait is at least the one before; the first is short, and the longest half a minute."""
    found = waits(12, rng)
    assert all(first <= second for first, second in pairwise(found[:6]))
    assert (True, True) == (found[0] <= 0.5, 15.0 <= found[-1] <= 30.0)


def test_thousands_of_ends_are_counted_without_an_overflow() -> None:
    """The wait stays the longest, however often a process has ended."""
    assert Restart(30.0, 1_000_001) == restart(End(1, 0.1), 1_000_000, 1.0)


def test_two_processes_that_end_together_do_not_start_together() -> None:
    """The wait is spread over the upper half of its longest."""
    found = {decision.seconds for chance in (0.0, 0.5, 1.0) if (decision := restart(End(-9, 1.0), 3, chance))}
    assert {2.0, 3.0, 4.0} == found


def test_a_process_that_ran_for_long_is_started_again_soon() -> None:
    """The waits begin anew."""
    assert Restart(0.5, 1) == restart(End(1, LONG_SECONDS), 9, 1.0)


@pytest.mark.parametrize("code", [0, 1, 3, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGSEGV])
def test_a_process_is_started_again_however_it_ended(code: int) -> None:
    """An end that nobody asked for is followed by a start, also an orderly one."""
    assert restart(End(code, 1.0), 0, 0.5)


@pytest.mark.parametrize("row", [0, 5])
def test_a_process_that_refuses_its_settings_is_not_started_again(row: int) -> None:
    """It would refuse them again."""
    assert restart(End(2, 1.0), row, 0.5) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "ended with exit code 1"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL, as the kernel does when memory runs out"),
        (-(signal.SIGRTMIN + 1), f"was ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_an_end_is_said_in_words(code: int, words: str) -> None:
    """The words name the exit code, or the signal."""
    assert words == how(code)
