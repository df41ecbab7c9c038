"""Tests of when a sweep takes messages: not while the service fails, nor what stands in a long queue."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typing_extensions import override

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.evidence import Place
from handler.backup.hooks import OverdueWaits
from handler.backup.ports import Key
from handler.broker.connection import BrokerConnection
from handler.broker.outbox import BrokerOutbox
from handler.broker.topology import Topology
from handler.errors import ConnectionLost
from handler.ledger.waiting import Overdue, WaitingSummary
from handler.telemetry.telemetry import Telemetry
from handler.worker.sweep import Sweep, SweepTimes
from tests.twins.clock import Clock
from tests.twins.events import PROJECT

TIMES = SweepTimes(every=0.0, soon=10.0, grace=60.0, far=3600.0, renew=1e9)


@dataclass
class _Ledger:
    """A ledger that says for how long messages must be overdue to be taken; ``held`` by another process."""

    asked: list[float] = field(default_factory=list)
    leases: list[float] = field(default_factory=list)
    overdue: Sequence[Overdue] = ()
    held: bool = False
    stranded: Sequence[Key] = ()
    late: Mapping[int, int] = field(default_factory=dict)

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Return what is late."""
        assert TIMES.late == overdue
        return self.late

    async def take_overdue(self, *, overdue: float, limit: int, lease: float) -> Sequence[Overdue] | None:
        """Note what is asked for; take nothing."""
        self.leases.append(lease)
        if limit:
            self.asked.append(overdue)
        return None if self.held else self.overdue if limit else ()

    async def waiting(self, *, overdue: float, longest: float) -> WaitingSummary:
        """Return the stranded snapshots."""
        return WaitingSummary(0, 0, None, self.stranded, 0.0, overdue + longest)


@dataclass
class _Outbox:
    """Notes what is sent, or fails with an error."""

    fails: BaseException | None = None
    sent: list[bytes] = field(default_factory=list)

    async def send(self, _exchange: str, _key: str, body: bytes, _properties: object) -> None:
        """Send a message."""
        if self.fails is not None:
            raise self.fails
        self.sent.append(body)


class _Sweep(Sweep):
    """A sweep of a worker that consumes, with so many messages ready in its queue.

    ``longest`` is for how many seconds a message was in hand at most since the last round. ``late`` counts
    the seconds in which the broker answered late.
    """

    ready = 0
    consuming = True
    longest = 0.0
    late = 0
    outbox = cast("BrokerOutbox", None)

    def take_longest(self) -> float:
        """Return the longest time in hand."""
        return self.longest

    @override
    async def _ready(self, connection: BrokerConnection) -> int:
        return self.ready

    def begin(self) -> None:
        """Begin on a new connection, and end before the first round."""

        async def begun() -> None:
            rounds = asyncio.create_task(
                self._rounds(cast("BrokerConnection", None), cast("BrokerOutbox", None), self)
            )
            await asyncio.sleep(0)
            rounds.cancel()
            await asyncio.gather(rounds, return_exceptions=True)

        asyncio.run(begun())

    def round(self) -> None:
        """Run one round."""
        connection = cast("Any", SimpleNamespace(liveness=SimpleNamespace(late=self.late)))
        asyncio.run(self._round(connection, self.outbox, self))


@pytest.fixture
def ledger() -> _Ledger:
    """A ledger without overdue messages."""
    return _Ledger()


@pytest.fixture
def clock() -> Clock:
    """Monotonic seconds."""
    return Clock(1_000.0)


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """A closed circuit breaker."""
    return CircuitBreaker(8, clock, doubt_pause=5.0)


@pytest.fixture
def sweep(ledger: _Ledger, clock: Clock, breaker: CircuitBreaker) -> _Sweep:
    """A sweep that has run its first round."""
    names = Topology("q", "in", "out", (5, 3600))
    made = _Sweep(ledger, names, breaker, tracked=True, times=TIMES, clock=clock)
    made.round()
    return made


def test_nothing_is_taken_right_after_the_start(sweep: _Sweep, ledger: _Ledger, clock: Clock) -> None:
    """What came back while no worker ran is in the queue or in hand; it is handled first."""
    clock.advance(9.0)
    sweep.round()
    assert [] == ledger.asked


@pytest.mark.parametrize(("longest", "overdue"), [(0.0, 10.0), (5.0, 25.0), (17.0, 60.0), (600.0, 60.0)])
def test_overdue_messages_are_taken_soon_where_messages_are_handled_quickly(
    sweep: _Sweep, ledger: _Ledger, clock: Clock, longest: float, overdue: float
) -> None:
    """The worker has consumed for so long, the queue is empty, and no worker can have them in hand."""
    sweep.longest = longest
    clock.advance(overdue - 1.0)
    sweep.round()
    assert [] == ledger.asked
    clock.advance(1.0)
    sweep.round()
    assert [overdue] == ledger.asked


def test_a_slow_message_is_forgotten_after_a_minute(sweep: _Sweep, ledger: _Ledger, clock: Clock) -> None:
    """A message that was in hand for long counts for 24 rounds."""
    sweep.longest = 600.0
    clock.advance(1_000.0)
    sweep.round()
    sweep.longest = 0.0
    for _ in range(24):
        sweep.round()
    assert [60.0] * 24 + [10.0] == ledger.asked


def test_a_new_connection_forgets_what_a_lost_broker_kept_in_hand(
    sweep: _Sweep, ledger: _Ledger, clock: Clock
) -> None:
    """Messages were in hand for long since the broker confirmed nothing: the next sweep is not put off."""
    sweep.longest = 600.0
    sweep.round()
    sweep.longest = 0.0
    sweep.begin()
    sweep.round()
    clock.advance(10.0)
    sweep.round()
    assert [10.0] == ledger.asked


def test_a_broker_that_answered_late_just_now_puts_the_sweep_off(
    sweep: _Sweep, ledger: _Ledger, clock: Clock
) -> None:
    """For ten seconds only what has been due for a minute is taken: what is published may hang."""
    clock.advance(30.0)
    sweep.late += 1
    sweep.round()
    assert [] == ledger.asked
    clock.advance(10.0)
    sweep.round()
    assert [10.0] == ledger.asked
    sweep.late += 1
    clock.advance(20.0)
    sweep.round()
    assert [10.0, 60.0] == ledger.asked


@pytest.mark.parametrize("error", [ConnectionLost("the broker does not answer"), asyncio.CancelledError()])
def test_what_was_taken_and_not_published_is_published_by_the_next_round(
    sweep: _Sweep, ledger: _Ledger, clock: Clock, error: BaseException
) -> None:
    """The connection is lost with it. The ledger would not give it again for two minutes."""
    sweep.outbox = cast("Any", _Outbox(fails=error))
    ledger.overdue = [Overdue("id", b"body", "retry", 1.0, 0, None, None)]
    clock.advance(10.0)
    with pytest.raises(type(error)):
        sweep.round()
    ledger.overdue = []
    sweep.begin()
    sweep.consuming = False
    sweep.outbox = cast("Any", outbox := _Outbox())
    sweep.round()
    assert [] == outbox.sent
    sweep.consuming = True
    sweep.round()
    sweep.round()
    assert [b"body"] == outbox.sent


def test_what_stands_in_a_long_queue_is_not_taken(sweep: _Sweep, ledger: _Ledger, clock: Clock) -> None:
    """While messages are ready only what is overdue by an hour is taken, after an hour of consuming."""
    sweep.ready = 5
    clock.advance(3_599.0)
    sweep.round()
    assert [] == ledger.asked
    clock.advance(1.0)
    sweep.round()
    assert [3600.0] == ledger.asked


def test_nothing_is_taken_while_the_service_fails(
    sweep: _Sweep, ledger: _Ledger, clock: Clock, breaker: CircuitBreaker
) -> None:
    """An open circuit breaker keeps messages in the queue; the time counts anew once it is closed."""
    clock.advance(10_000.0)
    breaker.record_failure(ScopedFailure("service", "down", seconds=30.0))
    sweep.round()
    clock.advance(31.0)
    sweep.round()
    assert ("half_open", []) == (breaker.state, ledger.asked)
    for _ in range(20):
        breaker.record_success(Place("create", PROJECT))
    sweep.round()
    clock.advance(9.0)
    sweep.round()
    assert ("closed", []) == (breaker.state, ledger.asked)
    clock.advance(1.0)
    sweep.round()
    assert [10.0] == ledger.asked


def test_a_worker_that_does_not_consume_takes_nothing(sweep: _Sweep, ledger: _Ledger, clock: Clock) -> None:
    """Such a worker cannot know what its queue would bring."""
    sweep.consuming = False
    clock.advance(10_000.0)
    sweep.round()
    assert [] == ledger.asked


def test_another_workers_sweep_is_left_to_it(sweep: _Sweep, ledger: _Ledger, clock: Clock) -> None:
    """While another worker holds the sweep this one neither takes nor reports."""
    ledger.held, ledger.stranded = True, [Key("p", "s")]
    clock.advance(10_000.0)
    sweep.round()
    assert [] == ledger.asked


def test_a_worker_that_may_not_take_yet_does_not_keep_others_from_it(
    sweep: _Sweep, ledger: _Ledger, clock: Clock
) -> None:
    """After a lost connection another worker sweeps, which has consumed all the while."""
    sweep._times = TIMES._replace(every=1.0)
    clock.advance(10.0)
    sweep.round()
    assert ledger.leases[-1] > 0.0
    sweep.begin()
    sweep.round()
    assert 0.0 == ledger.leases[-1]
    clock.advance(10.0)
    sweep.consuming = False
    sweep.round()
    assert 0.0 == ledger.leases[-1]


def test_stranded_snapshots_are_logged_once(
    sweep: _Sweep, ledger: _Ledger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """They are logged when they are found, and again only where they become more."""
    logged = []
    for found in (1, 1, 2, 1):
        ledger.stranded = [Key("p", f"s{number}") for number in range(found)]
        clock.advance(3_600.0)
        sweep.round()
        logged.append(len(caplog.records))
    assert [1, 1, 2, 2] == logged
    assert "such as s0" in caplog.text


@pytest.fixture
def told(sweep: _Sweep) -> list[OverdueWaits]:
    """What the sweep reports of overdue messages."""
    reports: list[OverdueWaits] = []
    sweep._notify = reports.append
    return reports


def test_what_is_late_is_reported_by_delay(sweep: _Sweep, ledger: _Ledger, told: list[OverdueWaits]) -> None:
    """The worker consumes and the queue is empty: the broker has not returned these messages."""
    ledger.late = {5: 2, 3600: 1}
    sweep.round()
    assert [OverdueWaits({5: 2, 3600: 1})] == told


@pytest.mark.parametrize("case", ["ready", "not consuming", "another sweeps", "no records"])
def test_what_is_late_is_unknown_where_it_may_be_elsewhere(
    sweep: _Sweep, ledger: _Ledger, told: list[OverdueWaits], case: str
) -> None:
    """The messages may stand in the queue; or another worker reports; or ``LEDGER_URL=none`` records none."""
    ledger.late = {5: 2}
    sweep.ready = int(case == "ready")
    sweep.consuming = case != "not consuming"
    ledger.held = case == "another sweeps"
    sweep._recorded = case != "no records"
    sweep.round()
    assert [OverdueWaits(None)] == told


def test_a_late_message_is_logged_once_with_the_setting_of_rabbitmq(caplog: pytest.LogCaptureFixture) -> None:
    """The line says how many, of which delay, and what helps in a cluster."""
    telemetry = Telemetry()
    for by_delay in ({5: 2}, {5: 3}, {}, None, {30: 1}):
        telemetry.waits_seen(OverdueWaits(by_delay))
    assert 2 == len(caplog.records)
    assert "2 messages are not back from the wait queues (2 of 5 s)" in caplog.text
    assert "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}]." in caplog.text
