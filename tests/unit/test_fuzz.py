"""Bytes from outside, made by chance: nothing raises, nothing is lost, and all of it can be dead-lettered."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import TARGETS, Target


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Each target in turn."""
    if request.param == "answers":
        pytest.importorskip("httptools", reason="the extra `fast` is not installed")
    target = TARGETS[request.param]()
    yield target
    target.close()


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_no_input_found_by_hypothesis_breaks_a_promise(target: Target, rng: random.Random) -> None:
    """Hypothesis draws every choice, and so makes what fails small."""
    target.check(rng)


def test_no_input_of_two_thousand_breaks_a_promise(target: Target, seed: int) -> None:
    """Faster, and as far from each other as chance wants; the number of a failure is its seed."""
    for number in range(seed, seed + 2_000):
        target.check(random.Random(number))
