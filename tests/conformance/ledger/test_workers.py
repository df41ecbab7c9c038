"""Workers' reports over every store: how they are written, removed, and forgotten after a day."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from handler.backup.hooks import LedgerCommit
from handler.backup.workers import SILENT_SECONDS, WorkerReport
from handler.ledger.ledger import StoredLedger
from handler.ledger.sqlite import SqliteLedger
from handler.ledger.worker_rows import KEPT_SECONDS
from tests.twins.clock import Clock

pytestmark = pytest.mark.anyio


def report(
    name: str = "w", *, state: str = "consuming", in_hand: int = 3, uptime: float = 60.0
) -> WorkerReport:
    """Return a worker's report."""
    return WorkerReport(name, "backup-1", 4711, "1.0", uptime, state, in_hand, 32)


async def test_a_worker_is_read_as_it_reported_last(ledger: StoredLedger) -> None:
    """State and messages in hand are those of the latest report; it has run since before the first one."""
    await ledger.control("q", report())
    [first] = (await ledger.workers("q")).records
    await ledger.control("q", report(state="paused", in_hand=1))
    found = await ledger.workers("q")
    [latest] = found.records
    assert ("w", "backup-1", 4711, "1.0", "paused", 1, 32) == (*latest[:4], *latest[6:])
    assert latest.seen_at >= first.seen_at
    assert 59 < first.seen_at - first.started_at < 61
    assert [latest] == list(found.alive)


async def test_a_report_changes_nothing_of_what_operators_have_set(ledger: StoredLedger) -> None:
    """The worker that reports reads the pause in the same call."""
    await ledger.pause("q", reason="upgrade")
    found = await ledger.control("q", report())
    assert found.queue
    assert "upgrade" == found.queue.reason


async def test_workers_are_those_of_one_queue(ledger: StoredLedger) -> None:
    """A ledger that several queues share tells their workers apart, and names the other queues."""
    await ledger.control("q", report("a"))
    await ledger.control("other", report("b"))
    await ledger.control("q")
    found = await ledger.workers("q")
    assert (["a"], ["other"]) == ([each.id for each in found.records], found.other_queues)


async def test_another_queue_is_named_while_its_workers_run(tmp_path: Path) -> None:
    """A worker of another queue that was killed uses the ledger no more."""
    clock = Clock(time.time())
    ledger = SqliteLedger(tmp_path / "ledger.db", clock)
    await ledger.control("other", report())
    assert ["other"] == (await ledger.workers("q")).other_queues
    clock.advance(SILENT_SECONDS + 1)
    assert [] == (await ledger.workers("q")).other_queues
    await ledger.aclose()


async def test_a_worker_that_stops_is_removed(ledger: StoredLedger) -> None:
    """The others stay; to remove it again does nothing."""
    for name in ("a", "b"):
        await ledger.control("q", report(name))
    for _ in range(2):
        await ledger.remove_worker("a")
    assert ["b"] == [each.id for each in (await ledger.workers("q")).records]


async def test_a_hostile_host_name_stays_as_it_is(ledger: StoredLedger) -> None:
    """Quotes and markup are values to the database."""
    name = "'); DROP TABLE ledger_worker; -- <script>"
    await ledger.control("q", report()._replace(host=name))
    assert [name] == [each.host for each in (await ledger.workers("q")).records]


async def test_a_report_shares_the_transaction_of_the_look(tmp_path: Path) -> None:
    """A look that reports costs no second transaction."""
    commits: list[LedgerCommit] = []
    ledger = SqliteLedger(tmp_path / "ledger.db", notify=commits.append)
    await ledger.control("q", report())
    await ledger.aclose()
    assert [1] == [each.changes for each in commits]


async def test_a_worker_that_was_killed_is_silent_and_forgotten_after_a_day(tmp_path: Path) -> None:
    """Its row says when it was seen last; a prune, which each worker runs every hour, deletes old rows."""
    clock = Clock(time.time())
    ledger = SqliteLedger(tmp_path / "ledger.db", clock)
    await ledger.control("q", report("killed"))
    clock.advance(SILENT_SECONDS + 1)
    await ledger.control("q", report("runs"))
    found = await ledger.workers("q")
    assert (["runs"], ["killed"]) == ([each.id for each in found.alive], [each.id for each in found.silent])
    clock.advance(KEPT_SECONDS - SILENT_SECONDS)
    await ledger.prune(1e9)
    await ledger.aclose()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert [("runs",)] == connection.execute("SELECT id FROM ledger_worker").fetchall()
