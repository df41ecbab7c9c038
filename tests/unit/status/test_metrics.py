"""The figures, and what Prometheus is told of them."""

import asyncio
from dataclasses import dataclass
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from events.errors import EventIds
from events.message import Message, State
from events.outcome import Category, Failure
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.hooks import Call, Published
from handler.backup.ports import Key
from handler.backup.result import Delay, Kind, Result
from handler.broker.topology import Topology
from handler.errors import LedgerUnavailable
from handler.ledger.memory import MemoryLedger
from handler.status.metrics import HELP, Metrics, Sources
from handler.telemetry.counters import Counters
from handler.worker.worker import Worker
from tests.twins.clock import Clock

NAMES = Topology("q", "snapshots", "backups", (5, 30))


@dataclass
class _Worker:
    session: None = None
    connections: int = 2


class Case:
    """Figures, and the page that shows them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.breaker = CircuitBreaker(8, self.clock, doubt_pause=5.0)
        self.ledger = MemoryLedger(self.clock)
        worker = cast("Worker", _Worker())
        self.page = Metrics(
            Sources(self.counters, self.breaker, worker, self.ledger, NAMES, lambda: 1024)
        ).page

    def handled(
        self, kind: Kind, state: State, *, delay: Delay | None = None, dead_letter: Failure | None = None
    ) -> None:
        """Count a message that was handled now."""
        result = Result(kind, Message(b""), state, EventIds(), "data", delay=delay, dead_letter=dead_letter)
        self.counters.handled(result, now=self.clock())

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of a name, by the values of their labels; zeros left out."""
        families = text_string_to_metric_families(self.page().body.decode())
        return {
            tuple(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"snapshot_backup_{name}" and sample.value
        }


@pytest.fixture
def case() -> Case:
    """See ``Case``."""
    return Case()


def _waits(case: Case, *, accepted_at: float | None = None) -> Delay:
    state = State(case.clock(), "track" if accepted_at else "retry", backup_id="b", accepted_at=accepted_at)
    return Delay(state, 30.0)


def test_every_metric_is_there_from_the_start(case: Case) -> None:
    """With its help; what appears only with its first event could not be alerted on."""
    families = {family.name for family in text_string_to_metric_families(case.page().body.decode())}
    assert {f"snapshot_backup_{name}" for name in HELP} == {
        name for name in families if name.startswith("snapshot_backup_")
    }


def test_an_event_is_counted_once_however_often_it_returns(case: Case) -> None:
    """By its form; its returns are counted apart."""
    case.handled("waiting", State(first_seen=case.clock()), delay=_waits(case))
    case.handled("waiting", State(first_seen=case.clock(), waits=1), delay=_waits(case))
    assert ({("data",): 1.0}, {(): 1.0}) == (case.values("events_total"), case.values("returned_total"))


def test_failures_are_counted_by_category(case: Case) -> None:
    """And successes without one."""
    state = State(first_seen=case.clock())
    case.handled("failed", state, dead_letter=Failure(category=Category.QUOTA, message="full"))
    case.handled("completed", state)
    assert {("quota", "backup.failed"): 1.0, ("", "backup.completed"): 1.0} == case.values("outcomes_total")


def test_what_is_not_for_us_is_no_outcome(case: Case) -> None:
    """It is ignored, and counted so."""
    case.handled("ignored", State(first_seen=case.clock()))
    assert ({(): 1.0}, {}) == (case.values("ignored_total"), case.values("outcomes_total"))


def test_a_life_is_measured_to_its_end(case: Case) -> None:
    """Accepted and watched is not the end."""
    born = case.clock()
    case.handled("accepted", State(first_seen=born), delay=_waits(case, accepted_at=born))
    case.clock.advance(250.0)
    case.handled("completed", State(first_seen=born, waits=1))
    assert ({(): 250.0}, {(): 1.0}) == (case.values("event_seconds_sum"), case.values("event_seconds_count"))


def test_a_backup_that_is_still_being_made_tells_its_age(case: Case) -> None:
    """At each look that finds it unfinished; the acceptance itself is no look."""
    made = case.clock()
    case.handled("accepted", State(first_seen=made), delay=_waits(case, accepted_at=made))
    case.clock.advance(20_000.0)
    looked = State(first_seen=made, reason="track", waits=1, backup_id="b", accepted_at=made)
    case.handled("waiting", looked, delay=_waits(case, accepted_at=made))
    buckets = case.values("unfinished_backup_seconds_bucket")
    assert ({"43200.0": 1.0, "86400.0": 1.0, "+Inf": 1.0}) == {le: n for (le,), n in buckets.items()}


def test_waits_are_counted_by_rung(case: Case) -> None:
    """By the wait queue that they were put into, named by its seconds."""
    case.counters.published(Published("wait", "", "q.wait.30s", None, 9, 0.1, 1.0))
    assert {("30",): 1.0} == case.values("waits_total")


def test_calls_are_counted_by_route_and_status(case: Case) -> None:
    """No answer is a status too."""
    for status in (202, 202, None):
        case.counters.called(Call("create", "POST", "api", status, 0.02, 1.0))
    assert {("create", "202"): 2.0, ("create", "none"): 1.0} == case.values("api_calls_total")
    assert {("create",): 3.0} == case.values("api_call_seconds_count")


@pytest.mark.parametrize(
    ("status", "result"), [(201, "granted"), (401, "refused"), (503, "unavailable"), (None, "unavailable")]
)
def test_sign_ins_are_counted_by_result(case: Case, status: int | None, result: str) -> None:
    """Each call for a token is one."""
    case.counters.called(Call("token", "POST", "iam", status, 0.02, 1.0))
    assert {(result,): 1.0} == case.values("sign_ins_total")


def test_a_pause_says_why(case: Case) -> None:
    """State and trouble are gauges; nothing may be in hand."""
    case.breaker.record_failure(ScopedFailure("service", "401", why="denied"))
    assert ({("open",): 1.0}, {("denied",): 1.0}, {}) == (
        case.values("circuit_breaker_state"),
        case.values("circuit_breaker_reason"),
        case.values("concurrency"),
    )


def test_the_ledger_s_groups_are_counted_by_size(case: Case) -> None:
    """Each bucket holds the groups that are no larger."""
    for size in (1, 2, 3, 256, 300):
        case.ledger.counters.count(size)
    buckets = case.values("ledger_group_size_bucket")
    assert [1.0, 2.0, 3.0, 4.0, 5.0] == [buckets[(le,)] for le in ("1", "2", "4", "256", "+Inf")]
    assert {(): 562.0} == case.values("ledger_group_size_sum")


def test_a_ledger_that_fails_is_out_of_reach(case: Case) -> None:
    """Until its next use succeeds."""
    case.ledger.counters.fail()
    failed = case.values("ledger_failures_total"), case.values("ledger_reachable")

    async def use() -> None:
        await case.ledger.claim(Key("p", "s"), "cause")

    asyncio.run(use())
    assert (({(): 1.0}, {}), {(): 1.0}) == (failed, case.values("ledger_reachable"))


def test_a_failing_store_counts_its_failures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ledger in a folder that is not there is out of reach."""
    from handler.ledger.stores import open_ledger

    ledger = open_ledger(f"sqlite:///{tmp_path_factory.mktemp('x')}/none/ledger.db", lease_seconds=5)

    async def use() -> None:
        with pytest.raises(LedgerUnavailable):
            await ledger.check()
        await ledger.aclose()

    asyncio.run(use())
    assert (1, False) == (ledger.counters.failures, ledger.counters.reachable)
