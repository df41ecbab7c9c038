"""Tests of the metrics page: what Prometheus reads from the counters."""

import asyncio
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from events.errors import EventIds
from events.message import Message, State
from events.outcome import Category, Failure
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.hooks import (
    Call,
    LedgerCommit,
    OverdueWaits,
    Published,
    Publishing,
    Redelivered,
    RouteChange,
    Unpublished,
)
from handler.backup.ports import Key
from handler.backup.result import Delay, Kind, Result
from handler.broker.topology import Topology
from handler.errors import LedgerUnavailable
from handler.ledger.memory import MemoryLedger
from handler.status.metrics import HELP, Metrics, Sources
from handler.status.monitoring import FreeSpace
from handler.telemetry.counters import Counters, LedgerCounters
from handler.worker.worker import Worker
from tests.patience import patient
from tests.twins.clock import Clock

NAMES = Topology("q", "snapshots", "backups", (5, 30))


@dataclass
class _Worker:
    session: None = None
    connections: int = 2


class Measured:
    """Counters, and the metrics page over them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.breaker = CircuitBreaker(8, self.clock, doubt_pause=5.0)
        self.ledger = MemoryLedger(self.clock, notify=self.counters.ledger.count)
        worker = cast("Worker", _Worker())
        self.page = Metrics(Sources(self.counters, self.breaker, worker, NAMES, lambda: 1024)).page

    def handled(
        self, kind: Kind, state: State, *, delay: Delay | None = None, dead_letter: Failure | None = None
    ) -> None:
        """Count a message that was handled now."""
        result = Result(kind, Message(b""), state, EventIds(), "data", delay=delay, dead_letter=dead_letter)
        self.counters.handled(result, now=self.clock())

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name that are not zero, by the values of their labels."""
        families = text_string_to_metric_families(self.page().body.decode())
        return {
            tuple(sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"snapshot_backup_{name}" and sample.value
        }


@pytest.fixture
def measured() -> Measured:
    """Return counters with their metrics page."""
    return Measured()


def _waits(measured: Measured, *, accepted_at: float | None = None) -> Delay:
    state = State(
        measured.clock(), "track" if accepted_at else "retry", backup_id="b", accepted_at=accepted_at
    )
    return Delay(state, 30.0)


def test_every_metric_is_there_from_the_start(measured: Measured) -> None:
    """Each metric has its help; a series that appears with its first event could not be alerted on."""
    families = {family.name for family in text_string_to_metric_families(measured.page().body.decode())}
    assert {f"snapshot_backup_{name}" for name in HELP} == {
        name for name in families if name.startswith("snapshot_backup_")
    }


def test_an_event_is_counted_once_however_often_it_returns(measured: Measured) -> None:
    """The first delivery of an event counts by its form; each return counts in ``returned_total``."""
    measured.handled("waiting", State(first_seen=measured.clock()), delay=_waits(measured))
    measured.handled("waiting", State(first_seen=measured.clock(), waits=1), delay=_waits(measured))
    assert ({("data",): 1.0}, {(): 1.0}) == (
        measured.values("events_total"),
        measured.values("returned_total"),
    )


def test_failures_are_counted_by_category(measured: Measured) -> None:
    """A failure is counted with its category, a success without one."""
    state = State(first_seen=measured.clock())
    measured.handled("failed", state, dead_letter=Failure(category=Category.QUOTA, message="full"))
    measured.handled("completed", state)
    assert {("quota", "backup.failed"): 1.0, ("", "backup.completed"): 1.0} == measured.values(
        "outcomes_total"
    )


def test_an_ignored_notification_is_no_outcome(measured: Measured) -> None:
    """An ignored notification counts in ``ignored_total`` only."""
    measured.handled("ignored", State(first_seen=measured.clock()))
    assert ({(): 1.0}, {}) == (measured.values("ignored_total"), measured.values("outcomes_total"))


def test_the_time_of_an_event_ends_with_its_terminal_outcome(measured: Measured) -> None:
    """The time of an event runs until its completed backup, not until the accepted one."""
    born = measured.clock()
    measured.handled("accepted", State(first_seen=born), delay=_waits(measured, accepted_at=born))
    measured.clock.advance(250.0)
    measured.handled("completed", State(first_seen=born, waits=1))
    assert ({(): 250.0}, {(): 1.0}) == (
        measured.values("event_seconds_sum"),
        measured.values("event_seconds_count"),
    )


def test_the_age_of_an_unfinished_backup_is_measured(measured: Measured) -> None:
    """Each tracking that finds the backup unfinished counts its age; the acceptance does not."""
    made = measured.clock()
    measured.handled("accepted", State(first_seen=made), delay=_waits(measured, accepted_at=made))
    measured.clock.advance(20_000.0)
    tracked = State(first_seen=made, reason="track", waits=1, backup_id="b", accepted_at=made)
    measured.handled("waiting", tracked, delay=_waits(measured, accepted_at=made))
    buckets = measured.values("unfinished_backup_seconds_bucket")
    assert ({"43200.0": 1.0, "86400.0": 1.0, "+Inf": 1.0}) == {le: n for (le,), n in buckets.items()}


def test_delays_are_counted_by_wait_queue(measured: Measured) -> None:
    """Each delayed message counts for its wait queue, labelled with the delay in seconds."""
    measured.counters.published(Published("wait", "", "q.wait.30s", None, 9, 0.1, 1.0))
    assert {("30",): 1.0} == measured.values("waits_total")


@pytest.mark.parametrize(
    ("end", "unroutable"),
    [
        (Published("outcome", "backups", "backup.accepted", "m", 9, 0.1, 1.0), {}),
        (Unpublished("outcome", unroutable=False), {}),
        (Unpublished("outcome", unroutable=True), {(): 1.0}),
        (Unpublished("wait", unroutable=True), {}),
    ],
)
def test_a_publish_is_outstanding_until_its_end(
    measured: Measured, end: Published | Unpublished, unroutable: dict[tuple[str, ...], float]
) -> None:
    """A publish is outstanding until it ends, however it ends; only a returned outcome is unroutable."""
    measured.counters.published(Publishing(end.kind))
    outstanding = measured.values("confirms_outstanding")
    measured.counters.published(end)
    assert ({(): 1.0}, {}) == (outstanding, measured.values("confirms_outstanding"))
    assert unroutable == measured.values("unroutable_total")


def test_a_type_of_outcome_without_a_queue_is_shown_until_it_has_one(measured: Measured) -> None:
    """The gauge is 1 for each type of outcome that reaches no queue, and 0 once it does."""
    measured.counters.route_changed(RouteChange("backup.failed", "unroutable"))
    assert {("backup.failed",): 1.0} == measured.values("outcomes_unroutable")
    measured.counters.route_changed(RouteChange("backup.failed", None))
    assert {} == measured.values("outcomes_unroutable")


def test_overdue_waits_are_shown_by_delay_where_they_are_known(measured: Measured) -> None:
    """With knowledge each wait queue has a figure, also 0; without there is none. What was swept counts."""
    shown = 'snapshot_backup_waits_overdue{seconds="30"} 0.0'
    assert shown not in measured.page().body.decode()
    measured.counters.waits_seen(OverdueWaits({5: 2}, swept=3))
    assert {("5",): 2.0} == measured.values("waits_overdue")
    assert shown in measured.page().body.decode()
    measured.counters.waits_seen(OverdueWaits(None))
    assert shown not in measured.page().body.decode()
    assert {(): 3.0} == measured.values("waits_swept_total")


def test_a_disk_that_hangs_does_not_hang_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its free space is not known then, is asked for once, and is shown again once the disk answers."""
    free = FreeSpace(tmp_path)
    assert free()
    answers, asked = threading.Event(), []

    def hang(folder: Path) -> object:
        asked.append(folder)
        answers.wait(30.0)
        return shutil._ntuple_diskusage(3, 2, 1)

    monkeypatch.setattr(shutil, "disk_usage", hang)
    assert [None] * 3 == [free() for _ in range(3)]
    assert [tmp_path] == asked
    answers.set()
    ends = time.monotonic() + patient(10.0)
    while free() != 1:
        assert time.monotonic() < ends


def test_redeliveries_are_counted(measured: Measured) -> None:
    """Each delivery of a message that was delivered before counts, also where the broker has no count."""
    measured.counters.redelivered(Redelivered(0))
    assert {(): 1.0} == measured.values("redelivered_total")


def test_calls_are_counted_by_route_and_status(measured: Measured) -> None:
    """A call without an answer has the status none."""
    for status in (202, 202, None):
        measured.counters.called(Call("create", "POST", "api", status, 0.02, 1.0))
    assert {("create", "202"): 2.0, ("create", "none"): 1.0} == measured.values("api_calls_total")
    assert {("create",): 3.0} == measured.values("api_call_seconds_count")


@pytest.mark.parametrize(
    ("status", "result"), [(201, "granted"), (401, "refused"), (503, "unavailable"), (None, "unavailable")]
)
def test_sign_ins_are_counted_by_result(measured: Measured, status: int | None, result: str) -> None:
    """Each call for a token counts as one sign-in, with the result of its status."""
    measured.counters.called(Call("token", "POST", "iam", status, 0.02, 1.0))
    assert {(result,): 1.0} == measured.values("sign_ins_total")


def test_an_open_circuit_breaker_shows_its_reason(measured: Measured) -> None:
    """An open circuit breaker has gauges for its state and its reason, and a concurrency of 0."""
    measured.breaker.record_failure(ScopedFailure("service", "401", why="denied"))
    assert ({("open",): 1.0}, {("denied",): 1.0}, {}) == (
        measured.values("circuit_breaker_state"),
        measured.values("circuit_breaker_reason"),
        measured.values("concurrency"),
    )


def test_the_ledger_s_groups_are_counted_by_size(measured: Measured) -> None:
    """Each bucket counts the groups up to its size."""
    for size in (1, 2, 3, 256, 300):
        measured.counters.ledger.count(LedgerCommit(size))
    buckets = measured.values("ledger_group_size_bucket")
    assert [1.0, 2.0, 3.0, 4.0, 5.0] == [buckets[(le,)] for le in ("1", "2", "4", "256", "+Inf")]
    assert {(): 562.0} == measured.values("ledger_group_size_sum")


def test_a_ledger_that_fails_is_unreachable(measured: Measured) -> None:
    """A ledger that failed is unreachable until its next use succeeds."""
    measured.counters.ledger.count(LedgerCommit(1, failed=True))
    failed = measured.values("ledger_failures_total"), measured.values("ledger_reachable")

    async def use() -> None:
        await measured.ledger.claim(Key("p", "s"), "cause")

    asyncio.run(use())
    assert (({(): 1.0}, {}), {(): 1.0}) == (failed, measured.values("ledger_reachable"))


def test_a_failing_store_counts_its_failures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ledger in a folder that does not exist counts a failure, and is unreachable."""
    from handler.ledger.stores import open_ledger

    counters = LedgerCounters()
    ledger = open_ledger(
        f"sqlite:///{tmp_path_factory.mktemp('x')}/none/ledger.db", lease_seconds=5, notify=counters.count
    )

    async def use() -> None:
        with pytest.raises(LedgerUnavailable):
            await ledger.check()
        await ledger.aclose()

    asyncio.run(use())
    assert (1, False) == (counters.failures, counters.reachable)
