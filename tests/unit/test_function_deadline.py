"""The deadline of a function call, and which of the platform's values it is computed from."""

import pytest

from handler.function.deadline import deadline_of
from tests.twins.context import FakeContext

IMPLAUSIBLE = [
    *(30, -5, 0, 900, 1_999, 259_200_001, 10**400, float("nan"), float("inf")),
    *(None, True, "", "soon", "30" * 1000, [29_970]),
    *(RuntimeError("no clock"), AttributeError("no method")),
]
PLAUSIBLE = [(29_970, 29.97), (29_970.0, 29.97), ("29970", 29.97), (2_000, 2.0), (259_200_000, 259_200.0)]


def limit(remaining: object) -> float:
    """Return the seconds of a call; its last quarter, at most 10 s, is reserved for the hand-over."""
    soft, hard = deadline_of(FakeContext(remaining=remaining), now=100.0)
    margin = (hard - soft) / 3 * 4
    assert margin == pytest.approx(min((soft - 100 + margin) / 4, 10))
    return soft - 100 + margin


@pytest.fixture(autouse=True)
def no_runtime_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove RUNTIME_TIMEOUT, unless the test sets it."""
    monkeypatch.delenv("RUNTIME_TIMEOUT", raising=False)


@pytest.mark.parametrize(
    "remaining", [*IMPLAUSIBLE, *(value for value, _ in PLAUSIBLE)], ids=lambda v: repr(v)[:20]
)
def test_the_runtime_timeout_takes_precedence(remaining: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNTIME_TIMEOUT takes precedence over any remaining time, even if the context raises an error."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "30")

    assert 30.0 == pytest.approx(limit(remaining))


@pytest.mark.parametrize("remaining", IMPLAUSIBLE, ids=lambda v: repr(v)[:20])
def test_an_implausible_remaining_time_does_not_count(remaining: object) -> None:
    """If the remaining time is implausible, the platform's default of 3 s applies."""
    assert 3.0 == pytest.approx(limit(remaining))


@pytest.mark.parametrize(("remaining", "seconds"), PLAUSIBLE, ids=lambda v: repr(v)[:20])
def test_a_plausible_remaining_time_counts_without_a_runtime_timeout(
    remaining: object, seconds: float
) -> None:
    """Without RUNTIME_TIMEOUT, a plausible remaining time is the limit of the call."""
    assert seconds == pytest.approx(limit(remaining))


@pytest.mark.parametrize("timeout", ["", "soon", "-5", "0", "inf", "nan", "259201"], ids=repr)
def test_an_unusable_runtime_timeout_is_as_good_as_none(
    timeout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If RUNTIME_TIMEOUT is unusable, a plausible remaining time applies, or else the default."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", timeout)

    assert 29.97 == pytest.approx(limit(29_970))
    assert 3.0 == pytest.approx(limit(-5))


def test_a_context_without_a_clock_does_not_fail_the_call() -> None:
    """If the context has no method for the remaining time, the default applies."""
    assert 2.25 == deadline_of(object(), now=0.0).soft
