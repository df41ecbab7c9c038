"""Tests of what a worker reports of itself."""

import asyncio
import os
from typing import Any, NamedTuple, cast

import pytest

from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.control import Control, Pause
from handler.worker.reporter import Reporter, host_name
from handler.worker.worker import Worker
from tests.twins.clock import Clock


class Session(NamedTuple):
    """A session with messages in hand."""

    in_hand: int = 5


class Upkeep(NamedTuple):
    """The upkeep of queues, of which some may be missing."""

    missing: tuple[str, ...] = ()


class Services(NamedTuple):
    """What the worker's state needs of its services."""

    upkeep: Upkeep = Upkeep()


FIVE = Session()
NOTHING = Control()


def reporter(
    *, session: Session | None = FIVE, missing: tuple[str, ...] = (), control: Control = NOTHING
) -> tuple[Reporter, Worker, CircuitBreaker]:
    """Return a reporter, its worker, and its circuit breaker."""
    clock = Clock()
    worker = Worker(cast("Any", Services(Upkeep(missing))))
    worker.session = cast("Any", session)
    breaker = CircuitBreaker(32, clock, doubt_pause=1.0)
    return Reporter(worker, breaker, lambda: control, clock), worker, breaker


def test_a_worker_reports_its_process_and_what_it_has_in_hand() -> None:
    """The process, the messages in hand and how many it may have are those of now."""
    found, _, breaker = reporter()
    breaker.resize(8)
    report = found.report()
    assert (os.getpid(), 5, 8, "consuming") == (report.pid, report.in_hand, report.concurrency, report.state)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"session": None}, "waiting for the broker"),
        ({"missing": ("q",)}, "waiting for the broker"),
        ({"control": Control(Pause(1.0))}, "paused"),
        ({"control": Control(projects={"p": Pause(1.0)})}, "consuming"),
    ],
)
def test_a_worker_reports_why_it_does_not_consume(given: dict[str, Any], state: str) -> None:
    """A pause of one project is no pause of the worker."""
    assert state == reporter(**given)[0].report().state


@pytest.mark.parametrize(
    ("why", "state"), [("ledger", "waiting for the ledger"), ("unavailable", "waiting for the API")]
)
def test_a_worker_reports_whom_its_circuit_breaker_waits_for(why: str, state: str) -> None:
    """The ledger is told apart from the API."""
    found, _, breaker = reporter()
    breaker.record_failure(ScopedFailure("service", "down", why=why))
    assert state == found.report().state


def test_a_worker_without_a_session_reports_whom_it_waits_for() -> None:
    """The key of waiting messages is in the ledger: without it there is no session."""
    found, worker, _ = reporter(session=None)
    worker.waits_for = "ledger"
    assert "waiting for the ledger" == found.report().state


def test_a_worker_that_stops_is_draining() -> None:
    """It says so however it stood before."""
    found, worker, _ = reporter(control=Control(Pause(1.0)))
    stop = asyncio.Event()
    stop.set()
    worker.stop = stop
    assert "draining" == found.report().state


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("backup-1", "backup-1"),
        ("b\x1b[2J\x00", "b\\ufffd[2J\\ufffd"),
        ("sicherung-ü", "sicherung-\\xfc"),
        ("\u202eevil", "\\ufffdevil"),
        ("x" * 300, "x" * 255),
        ("\udcff", "\\ufffd"),
    ],
)
def test_a_host_name_is_kept_in_printable_ascii(given: str, kept: str) -> None:
    """No name steers a terminal, ends a text of the database, or lacks in its encoding."""
    assert kept == host_name(given)
