"""Tests of ``ConsumerWatch``: a session whose consumers the broker has forgotten consumes anew, no other."""

from dataclasses import dataclass
from typing import cast

import pytest

from handler.broker.topology import Exchange, Queue
from handler.broker.upkeep import Seen
from handler.worker.session import ConsumerSession
from handler.worker.watch import ConsumerWatch


@dataclass
class _Session:
    """What the watch knows of a session."""

    consuming: bool = True
    consumers: int = 2
    deliveries: int = 0
    in_hand: int = 0
    anew: int = 0

    def consume_anew(self) -> None:
        """Count it."""
        self.anew += 1


def seen(*, messages: int = 0, consumers: int = 2) -> list[Seen]:
    """Return what a check sees of the topology."""
    return [
        Seen(Exchange("q", "fanout"), exists=True),
        Seen(Queue("q", {}), exists=True, messages=messages, consumers=consumers),
    ]


@pytest.fixture
def session() -> _Session:
    """A session that consumes with two consumers."""
    return _Session()


@pytest.fixture
def watch(session: _Session) -> ConsumerWatch:
    """The watch of the session."""
    return ConsumerWatch(cast("ConsumerSession", session), "q")


def test_a_queue_that_was_made_again_is_consumed_anew(session: _Session, watch: ConsumerWatch) -> None:
    """The first check only notes how often it was made again; a session starts after that."""
    for remade, anew in ((3, 0), (3, 0), (4, 1), (4, 1)):
        session.deliveries += 1
        watch.check(seen(), remade)
        assert anew == session.anew


def test_a_forgotten_consumer_is_noticed_by_the_count(session: _Session, watch: ConsumerWatch) -> None:
    """At two checks the broker knows fewer consumers than the session has, and it knew them before."""
    for consumers, anew in ((2, 0), (2, 0), (0, 0), (0, 1)):
        watch.check(seen(consumers=consumers), 0)
        assert anew == session.anew


def test_a_single_count_of_none_is_no_sign(session: _Session, watch: ConsumerWatch) -> None:
    """While the leader of a quorum queue changes, the broker may count no consumers."""
    for consumers in (2, 2, 0, 2, 0, 2):
        watch.check(seen(consumers=consumers), 0)
    assert 0 == session.anew


def test_what_the_broker_may_not_know_is_no_sign(session: _Session, watch: ConsumerWatch) -> None:
    """A broker under load counts neither messages nor consumers of a queue whose leader is late."""
    watch.check(seen(), 0)
    watch.check(seen(), 0)
    for _ in range(5):
        watch.check([each._replace(counted=False) for each in seen(consumers=0)], 0)
    assert 0 == session.anew


def test_a_session_that_is_delivered_messages_is_not_missed(session: _Session, watch: ConsumerWatch) -> None:
    """Whatever the broker counts: it knows a consumer that it delivers messages to."""
    watch.check(seen(), 0)
    watch.check(seen(), 0)
    for _ in range(5):
        session.deliveries += 1
        watch.check(seen(consumers=0), 0)
    session.in_hand = 5
    watch.check(seen(consumers=0), 0)
    watch.check(seen(consumers=0), 0)
    assert 0 == session.anew


def test_a_broker_that_never_counts_consumers_is_not_believed(
    session: _Session, watch: ConsumerWatch
) -> None:
    """A broker that counts unacknowledged messages in their place knows no consumer of an idle session."""
    for _ in range(5):
        watch.check(seen(consumers=0), 0)
    assert 0 == session.anew


def test_a_consumer_that_has_just_begun_is_not_missed(session: _Session, watch: ConsumerWatch) -> None:
    """A quorum queue counts a new consumer a moment late: at the first check, and when the prefetch grows."""
    watch.check(seen(consumers=0), 0)
    watch.check(seen(consumers=2), 0)
    session.consumers = 3
    watch.check(seen(consumers=2), 0)
    assert 0 == session.anew


def test_ready_messages_that_are_not_delivered_are_noticed(session: _Session, watch: ConsumerWatch) -> None:
    """Other workers' consumers hide ours: two checks with ready messages and without a delivery tell."""
    watch.check(seen(messages=5, consumers=9), 0)
    assert 0 == session.anew
    watch.check(seen(messages=5, consumers=9), 0)
    assert 1 == session.anew


def test_a_busy_session_is_left_alone(session: _Session, watch: ConsumerWatch) -> None:
    """A long queue is no sign while messages are delivered, or in hand."""
    for _ in range(30):
        session.deliveries += 1
        watch.check(seen(messages=1_000), 0)
    session.in_hand = 1
    for _ in range(30):
        watch.check(seen(messages=1_000), 0)
    assert 0 == session.anew


def test_a_session_that_does_not_consume_is_left_alone(session: _Session, watch: ConsumerWatch) -> None:
    """While the circuit breaker is open there are no consumers, and messages stand in the queue."""
    session.consuming, session.consumers = False, 0
    for _ in range(30):
        watch.check(seen(messages=1_000, consumers=0), 0)
    assert 0 == session.anew


def test_an_idle_session_consumes_anew_now_and_then(session: _Session, watch: ConsumerWatch) -> None:
    """Nothing else shows that a queue was made again by another worker, which consumes it."""
    for _ in range(21):
        watch.check(seen(consumers=9), 0)
    assert 2 == session.anew


def test_a_check_that_another_one_has_done_says_nothing(session: _Session, watch: ConsumerWatch) -> None:
    """Where nothing was seen nothing is concluded."""
    for _ in range(30):
        watch.check((), 0)
    assert 0 == session.anew
