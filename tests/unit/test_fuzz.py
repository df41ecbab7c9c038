"""Fuzz tests with random bytes from outside: no error is raised, and every message can be dead-lettered."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import TARGETS, Target


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Yield each target in turn."""
    if request.param == "answers":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
    target = TARGETS[request.param]()
    yield target
    target.close()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_no_input_found_by_hypothesis_breaks_a_promise(target: Target, rng: random.Random) -> None:
    """No input of Hypothesis breaks a promise; Hypothesis shrinks an input that does."""
    target.check(rng)


def test_no_input_of_two_thousand_breaks_a_promise(target: Target, seed: int) -> None:
    """None of 2,000 random inputs breaks a promise; the number of a failure is its seed."""
    for number in range(seed, seed + 2_000):
        target.check(random.Random(number))
