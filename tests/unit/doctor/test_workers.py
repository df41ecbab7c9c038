"""Tests of the doctor's findings on workers: how many run, what they wait for, and when another is needed."""

import pytest
import typer

from handler.backup.workers import SILENT_SECONDS, WorkerRecord, Workers
from handler.broker.topology import Topology
from handler.commands import doctor
from handler.doctor.findings import Finding
from handler.doctor.traffic import Traffic, traffic
from handler.doctor.workers import other_queues_finding, workers_finding
from handler.telemetry import logs

NOW = 1_800_000_000.0


def workers(*states: str, silent: int = 0) -> Workers:
    """Return workers in these states, and some that were killed."""
    records = [
        WorkerRecord(f"w{number}", "host", number, "1.0", NOW - 90, NOW - 1, state, 2, 32)
        for number, state in enumerate(states)
    ]
    dead = WorkerRecord("dead", "gone", 9, "1.0", NOW - 900, NOW - SILENT_SECONDS - 280, "consuming", 0, 32)
    return Workers([*records, *[dead] * silent], NOW)


def main(held: Traffic, found: Workers | None) -> tuple[str, str, str]:
    """Return state, text and remedy of the finding on the main queue."""
    topology = Topology(queue="q", snapshot_exchange="in", result_exchange="out", delays=(1,))
    finding = next(iter(traffic(topology, {"q": held}, found)))
    return finding.state, finding.text, finding.remedy


def test_workers_are_counted_and_not_their_consumers() -> None:
    """One worker whose prefetch has grown has several consumers."""
    state, text, _ = main(Traffic(7, 3), workers("consuming"))
    assert ("ok", "7 messages, 3 consumers of 1 worker") == (state, text)


@pytest.mark.parametrize("state", ["waiting for the API", "waiting for the ledger", "paused"])
def test_a_worker_that_waits_is_not_a_missing_one(state: str) -> None:
    """Nobody is told to start another: it would wait as well."""
    found = main(Traffic(7, 0), workers(state, state))
    assert ("warning", "7 messages, 0 consumers of 2 workers") == found[:2]
    assert state in found[2]
    assert "start a worker" not in found[2]


@pytest.mark.parametrize("found", [workers(), workers(silent=1), None])
def test_without_a_worker_one_is_to_be_started(found: Workers | None) -> None:
    """A worker that was killed, and a ledger that cannot tell, are no worker that runs."""
    state, _, remedy = main(Traffic(7, 0), found)
    assert ("warning", True) == (state, "start a worker" in remedy)


def test_consumers_that_report_to_no_ledger_are_named() -> None:
    """A worker with another ledger could make second backups."""
    assert "another LEDGER_URL" in main(Traffic(0, 2), workers())[1]
    assert "not known without their ledger" in main(Traffic(0, 2), None)[1]


def test_each_worker_that_runs_is_named_with_its_state() -> None:
    """Beside them it is said how many were killed."""
    found = workers_finding(workers("consuming", "paused", silent=1))
    assert "ok" == found.state
    assert "2 workers: host:0 consuming, 2 of 32 in hand; host:1 paused, 2 of 32 in hand" in found.text
    assert "1 ended without an orderly stop" in found.text


def test_of_many_workers_some_are_named() -> None:
    """The line stays short."""
    assert workers_finding(workers(*["consuming"] * 50)).text.endswith("; 45 more")


def test_a_worker_that_waits_is_a_warning() -> None:
    """The finding names the worker whose log says why."""
    found = workers_finding(workers("consuming", "waiting for the broker"))
    assert ("warning", True) == (found.state, "host:1" in found.remedy)


def test_the_latest_of_killed_workers_is_named() -> None:
    """It says for how long nothing was heard of it."""
    found = workers_finding(workers(silent=2))
    assert ("warning", True, True) == (
        found.state,
        "gone:9, 300 s ago" in found.text,
        "gone:9" in found.remedy,
    )


def test_no_worker_at_all_is_no_problem_by_itself() -> None:
    """Functions do not report, and messages that wait for a worker have a finding of their own."""
    assert "ok" == workers_finding(workers()).state


def test_a_ledger_of_two_queues_is_a_warning() -> None:
    """The finding names the other queue, and the setting that gives each queue a ledger of its own."""
    found = other_queues_finding(workers()._replace(other_queues=["tests"]))
    assert ("warning", True, True) == (found.state, "tests" in found.text, "LEDGER_URL" in found.remedy)


def test_hostile_names_steer_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in the ledger, the command prints no control character of it, in no column."""
    hostile = "host\x1b[2J\x9b2J\u202e\r"

    async def examined(*, declare: bool) -> list[Finding]:
        assert not declare
        return [Finding("ledger", hostile, "warning", hostile, hostile)]

    monkeypatch.setattr(doctor, "examine", examined)
    monkeypatch.setattr(logs, "set_up", lambda *_: None)  # it would hold for all tests of this process
    with pytest.raises(typer.Exit):
        doctor.doctor()
    shown = capsys.readouterr().out
    assert "host" in shown
    assert not set("\x1b\x9b\u202e\r") & set(shown)
