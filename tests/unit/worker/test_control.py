"""Tests of what a process knows of the settings of operators, and of when it looks."""

import asyncio
import logging

import pytest

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.control import Control, Pause
from handler.backup.control_watch import EVERY_SECONDS, REPORT_SECONDS, ControlWatch
from handler.backup.workers import WorkerReport
from handler.errors import LedgerUnavailable
from tests.twins.clock import Clock

PAUSED = Control(Pause(5.0, "upgrade"))


class Ledger:
    """A ledger in which an operator sets something, and which may be unavailable."""

    def __init__(self, control: Control | None = None, *, controllable: bool = True) -> None:
        self.found = control
        self.controllable = controllable
        self.asked = 0
        self.reports: list[str] = []
        self.removed: list[str] = []

    async def control(self, queue: str, report: WorkerReport | None = None) -> Control:
        """Return what is set."""
        assert "q" == queue
        self.asked += 1
        if self.found is None:
            raise LedgerUnavailable("down")
        if report is not None:
            self.reports.append(report.state)
        return self.found

    async def remove_worker(self, worker_id: str) -> None:
        """Note which worker stops."""
        if self.found is None:
            raise LedgerUnavailable("down")
        self.removed.append(worker_id)


def watch(ledger: Ledger, clock: Clock, sizes: list[int] | None = None) -> ControlWatch:
    """Return a watch that notes the number of messages in hand in ``sizes``."""
    return ControlWatch(ledger, "q", 32, (sizes if sizes is not None else []).append, clock=clock)


def test_an_event_before_the_first_look_waits() -> None:
    """A worker that cannot read the ledger at its start could overlook a pause, so it handles no event."""
    ledger, clock = Ledger(None), Clock()
    seen = watch(ledger, clock)
    asyncio.run(seen.begin())
    assert seen.current().paused("p")
    ledger.found = Control()
    asyncio.run(seen.look())
    assert seen.current().paused("p") is None


def test_what_was_read_last_holds_while_the_ledger_is_unavailable() -> None:
    """A pause does not end because the ledger does not answer."""
    ledger, clock = Ledger(PAUSED), Clock()
    seen = watch(ledger, clock)
    asyncio.run(seen.look())
    ledger.found = None
    clock.advance(EVERY_SECONDS)
    asyncio.run(seen.look())
    assert PAUSED == seen.current()


def test_a_process_looks_once_in_a_while() -> None:
    """Calls of a function that follow one another do not each read the ledger."""
    ledger, clock = Ledger(Control()), Clock()
    seen = watch(ledger, clock)
    for _ in range(10):
        asyncio.run(seen.look())
    assert 1 == ledger.asked
    clock.advance(EVERY_SECONDS)
    asyncio.run(seen.look())
    assert 2 == ledger.asked


def test_without_a_shared_ledger_nothing_is_read(caplog: pytest.LogCaptureFixture) -> None:
    """The process says that it cannot be paused by a command, and handles events."""
    caplog.set_level(logging.INFO)
    ledger = Ledger(PAUSED, controllable=False)
    seen = watch(ledger, Clock())
    asyncio.run(seen.begin())
    asyncio.run(seen.keep(lambda: None))
    assert (0, Control()) == (ledger.asked, seen.current())
    assert "cannot reach this process" in caplog.text


def test_concurrency_is_applied_and_given_back() -> None:
    """The number of an operator holds until it is unset; then the process has its own again."""
    sizes: list[int] = []
    ledger, clock = Ledger(Control(concurrency=4)), Clock()
    seen = watch(ledger, clock, sizes)
    for control in (Control(concurrency=4), Control(concurrency=6), Control(), Control()):
        ledger.found = control
        asyncio.run(seen.look())
        clock.advance(EVERY_SECONDS)
    assert [4, 6, 32] == sizes


def test_a_pause_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Each pause has a line with its reason, and one at its end; a pause that stays has no more."""
    caplog.set_level(logging.INFO)
    ledger, clock = Ledger(Control()), Clock()
    seen = watch(ledger, clock)
    project = Control(projects={"p": Pause(6.0, "quota")})
    for control in (Control(), PAUSED, PAUSED, project, Control()):
        ledger.found = control
        asyncio.run(seen.look())
        clock.advance(EVERY_SECONDS)
    actions = [(record.__dict__["action"], record.args) for record in caplog.records]
    assert [
        ("control.paused", ("all events", " (upgrade)")),
        ("control.resumed", ("all events",)),
        ("control.paused", ("events of project p", " (quota)")),
        ("control.resumed", ("events of project p",)),
    ] == actions


def test_a_new_limit_holds_at_once_where_the_service_is_fine() -> None:
    """More and fewer messages may be in flight; while the service fails, more only after its recovery."""
    clock = Clock()
    breaker = CircuitBreaker(32, clock, doubt_pause=1.0)
    breaker.resize(64)
    assert 64 == breaker.limit
    breaker.resize(2)
    assert 2 == breaker.limit
    breaker.record_failure(ScopedFailure("service", "down"))
    breaker.resize(16)
    clock.advance(60)
    assert (1, 16) == (breaker.limit, breaker.full)


def reporting(ledger: Ledger, clock: Clock, states: list[str]) -> ControlWatch:
    """Return the watch of a worker that is in the last of these states."""
    seen = watch(ledger, clock)
    seen.report = lambda: WorkerReport("w", "host", 7, "1.0", clock(), states[-1], 0, 32)
    return seen


def test_a_report_is_written_with_every_second_look_and_when_the_state_changes() -> None:
    """A worker's report costs no look of its own, and a pause that it has noticed is reported at once."""
    ledger, clock, states = Ledger(Control()), Clock(), ["consuming"]
    seen = reporting(ledger, clock, states)
    for _ in range(4):
        asyncio.run(seen.look())
        clock.advance(REPORT_SECONDS / 2)
    assert (4, ["consuming", "consuming"]) == (ledger.asked, ledger.reports)
    states.append("paused")
    asyncio.run(seen.look())
    clock.advance(EVERY_SECONDS)
    asyncio.run(seen.look())
    assert (6, ["paused"]) == (ledger.asked, ledger.reports[2:])


def test_a_report_that_the_ledger_did_not_take_is_written_at_the_next_look() -> None:
    """After an outage of the ledger the first look reports."""
    ledger, clock = Ledger(None), Clock()
    seen = reporting(ledger, clock, ["consuming"])
    asyncio.run(seen.look())
    ledger.found = Control()
    asyncio.run(seen.look())
    assert ["consuming"] == ledger.reports


def test_a_worker_that_stops_is_removed_and_reports_no_more() -> None:
    """Its last look after that would else bring it back; a ledger that is down keeps nobody."""
    ledger, clock = Ledger(Control()), Clock()
    seen = reporting(ledger, clock, ["consuming"])
    asyncio.run(seen.look())
    asyncio.run(seen.leave(1.0))
    clock.advance(REPORT_SECONDS)
    asyncio.run(seen.look())
    assert (["w"], ["consuming"]) == (ledger.removed, ledger.reports)
    unavailable = reporting(Ledger(None), clock, ["draining"])
    asyncio.run(unavailable.look())
    asyncio.run(unavailable.leave(1.0))


def test_what_never_reported_is_not_removed() -> None:
    """A function does not report, nor does a worker without a shared ledger, or one stopped at once."""
    ledger = Ledger(Control())
    function = watch(ledger, Clock())
    asyncio.run(function.look())
    asyncio.run(function.leave(1.0))
    asyncio.run(reporting(ledger, Clock(), ["consuming"]).leave(1.0))
    ledger.controllable = False
    alone = reporting(ledger, Clock(), ["consuming"])
    asyncio.run(alone.look())
    asyncio.run(alone.leave(1.0))
    assert [] == ledger.removed
