"""Counts of a queue are distinguished from the zeros of a broker that does not know them.

Danger: an idle or a busy node seems to have forgotten its consumers, and its queues seem to be empty.
"""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from handler.broker.connection import BrokerConnection, Channel
from handler.broker.counts import LEADER_SECONDS, count, count_messages
from handler.broker.topology import Queue, Topology
from handler.broker.upkeep import Seen, Upkeep
from tests.twins.clock import Clock

pytestmark = pytest.mark.anyio


class _Channel:
    """A channel of a broker whose answers take some time each."""

    def __init__(self, clock: Clock, *answers: tuple[float, int, int]) -> None:
        self._clock = clock
        self._answers = [*answers]
        self.raw = SimpleNamespace(queue_declare=None)

    async def call(self, _method: Callable[..., Any], **_arguments: object) -> Any:
        """Answer a passive declaration."""
        seconds, messages, consumers = self._answers.pop(0)
        self._clock.advance(seconds)
        return SimpleNamespace(method=SimpleNamespace(message_count=messages, consumer_count=consumers))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that answers are timed by."""
    clock = Clock()
    monkeypatch.setattr("handler.broker.counts.time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        ((0.001, 0, 0), True),
        ((LEADER_SECONDS, 0, 0), False),
        ((2 * LEADER_SECONDS, 0, 1), True),
        ((2 * LEADER_SECONDS, 3, 0), True),
    ],
)
async def test_late_zeros_are_not_known(clock: Clock, answer: tuple[float, int, int], known: bool) -> None:
    """Zeros that come after as long as RabbitMQ waits for a leader may say nothing of the queue."""
    counts = await count(cast("Channel", _Channel(clock, answer)), "q")
    assert (*answer[1:], known) == counts


async def test_messages_are_counted_again_until_they_are_known(clock: Clock) -> None:
    """A queue of dead letters is not taken for an empty one while its leader is busy."""
    answers = [(LEADER_SECONDS, 0, 0), (LEADER_SECONDS, 0, 0), (0.001, 7, 0)]
    assert 7 == await count_messages(cast("Channel", _Channel(clock, *answers)), "q.dead")


async def test_the_loss_of_a_queue_is_reported_with_the_last_number_that_was_known(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Zeros that the broker does not know do not replace what an earlier check has counted."""
    topology = Topology("q", "q.in", "q.out", (1,))
    queue = Queue("q", {})
    checks = [
        [Seen(queue, exists=True, messages=7)],
        [Seen(queue, exists=True, counted=False)],
        [Seen(queue, exists=False)],
    ]

    async def inspect(*_: object) -> list[Seen]:
        return checks.pop(0)

    async def declare(*_: object, **__: object) -> None:
        """Declare nothing."""

    monkeypatch.setattr("handler.broker.upkeep.inspect", inspect)
    monkeypatch.setattr("handler.broker.upkeep.declare", declare)
    times = itertools.count()
    upkeep = Upkeep(topology, clock=lambda: float(next(times)))
    for _ in range(3):
        await upkeep.restore(cast("BrokerConnection", None))
    assert "7 messages were ready in it" in caplog.text
