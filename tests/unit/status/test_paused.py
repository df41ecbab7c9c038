"""Tests of what the pages of ``HTTP_ADDRESS`` and the doctor say of a pause."""

import asyncio
import json
from typing import Any, cast

from handler.backup.breaker import CircuitBreaker
from handler.backup.control import Control, Pause
from handler.broker.topology import Topology
from handler.doctor.control import control_findings
from handler.ledger.memory import MemoryLedger
from handler.status.metrics import Metrics, Sources
from handler.status.readiness import Readiness
from handler.telemetry.counters import Counters
from handler.worker.worker import Worker
from tests.twins.clock import Clock

BOTH = Control(Pause(1e9, "upgrade"), {"p": Pause(1e9, "quota"), "r": Pause(1e9)}, 4)


class _Session:
    consuming, in_hand, oldest = True, 0, 0.0


class _Worker:
    session, missing, connections = _Session(), (), 1


def ready(control: Control) -> tuple[int, Any]:
    """Return the status and the document of /readyz."""
    counters, breaker = Counters(), CircuitBreaker(8, Clock(), doubt_pause=1.0)
    ledger = MemoryLedger(notify=counters.ledger.count)
    asyncio.run(ledger.check())
    page = Readiness(
        cast("Worker", _Worker()), breaker, ledger, counters.ledger, control=lambda: control
    ).page()
    return page.status, json.loads(page.body)


def test_a_paused_worker_is_ready_and_says_why_it_is_paused() -> None:
    """A pause is no error: a restart would not help, and a new release can start in it."""
    status, document = ready(BOTH)
    assert (200, "upgrade") == (status, document["paused"])
    assert "p: quota; r: no reason given" == document["paused_projects"]


def test_a_worker_that_is_not_paused_has_no_such_fields() -> None:
    """The fields are there only while something is paused."""
    assert not {"paused", "paused_projects"} & ready(Control())[1].keys()


def test_the_metrics_count_pauses() -> None:
    """One gauge for the queue, one for the number of paused projects; no label names a project."""
    names = Topology("q", "in", "out", (5,))
    breaker = CircuitBreaker(8, Clock(), doubt_pause=1.0)
    sources = Sources(Counters(), breaker, cast("Worker", _Worker()), names, lambda: None, lambda: BOTH)
    page = Metrics(sources).page().body.decode()
    assert "\nsnapshot_backup_paused 1.0\n" in page
    assert "\nsnapshot_backup_paused_projects 2.0\n" in page


def test_the_doctor_names_each_pause_and_the_command_that_ends_it() -> None:
    """A paused queue is told from one without workers, and no worker is to be started for it."""
    queue, project, _, number = control_findings(BOTH, "q")
    assert ("queue q", "warning") == (queue.what, queue.state)
    assert "since 2001-09-09T01:46:40+00:00 (upgrade)" in queue.text
    assert "snapshot-backup resume ends it" == queue.remedy
    assert "snapshot-backup resume --project p ends it" == project.remedy
    assert "start a worker" not in queue.text + queue.remedy
    assert "4 for all workers" in number.text


def test_the_doctor_says_that_nothing_is_paused() -> None:
    """Without a pause there is one finding, which is fine."""
    [found] = control_findings(Control(), "q")
    assert "ok" == found.state
