"""The quick path of the SQLite ledger does what the rules do, and is taken.

Danger: a shortcut that writes another row than the rules, or writes where they would not.
"""

import asyncio
import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.outcome import AcceptedBackup, CompletedBackup
from handler.backup.ports import Finished, Granted, Key
from handler.ledger import sqlite
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger
from handler.ledger.sqlite import SqliteLedger
from tests.twins.two_paths import STEPS, WITH_A_SLOT, Step, Walker, without_quick_path

KEY = Key("project", "snapshot")
LEASE = 20.0


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """The statements that SQLite ledgers run."""
    seen: list[str] = []
    opened = sqlite._connect

    def connect(path: Path) -> sqlite3.Connection:
        connection = opened(path)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(sqlite, "_connect", connect)
    return seen


def test_both_paths_give_the_same_rows_and_answers(tmp_path: Path, no_disk: None) -> None:
    """Each answer of a walk, and in the end rows, journals, sums and report, are those of the rules alone."""
    now = 1_764_200_000.0
    walks = itertools.count()
    quick, plain = (
        SqliteLedger(tmp_path / f"{name}.db", lambda: now, LEASE, monotonic=lambda: now)
        for name in ("quick", "plain")
    )
    ledgers = (quick, without_quick_path(plain), MemoryLedger(lambda: now, LEASE, monotonic=lambda: now))

    async def walk(steps: Sequence[Step], seconds: Sequence[float]) -> None:
        nonlocal now
        key = Key("project", f"snapshot {next(walks)}")
        by_quick, *others = [Walker(each, key) for each in ledgers]
        for step, later in zip(steps, seconds, strict=False):
            now += later
            answer = await by_quick.do(step)
            for each in others:
                assert answer == await each.do(step), step
        kept = await by_quick.kept()
        for each in others:
            assert kept == await each.kept()

    with asyncio.Runner() as runner:

        @settings(max_examples=100)
        @example(steps=WITH_A_SLOT, seconds=[1.0] * 3)
        @given(STEPS, st.lists(st.sampled_from([0.0, 0.125, 1.0, LEASE]), min_size=10, max_size=10))
        def check(steps: Sequence[Step], seconds: Sequence[float]) -> None:
            runner.run(walk(steps, seconds))

        check()
        runner.run(quick.aclose())
        runner.run(plain.aclose())


async def _event(ledger: StoredLedger) -> None:
    claim = await ledger.claim(KEY, "event")
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id="b1", name="nightly"))
    await ledger.finished(
        KEY, Finished(CompletedBackup(id="b1", status="available")), backup_id="b1", cause="event"
    )
    await ledger.aclose()


def test_a_usual_event_takes_one_statement_for_each_change(tmp_path: Path, statements: list[str]) -> None:
    """Claim, backup and end of a snapshot that was unknown read nothing before they write."""

    async def run() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.db", lease_seconds=LEASE)
        await ledger.check()
        statements.clear()
        await _event(ledger)

    asyncio.run(run())
    words = [each.split()[:3] for each in statements]
    assert [
        ["INSERT", "INTO", "ledger"],
        ["UPDATE", "ledger", "SET"],
        ["UPDATE", "ledger", "SET"],
    ] == [each for each in words if each[0] not in ("BEGIN", "COMMIT") and each[2] != "ledger_sums"]


def test_a_claim_of_a_known_snapshot_tries_no_insert(tmp_path: Path, statements: list[str]) -> None:
    """A message that comes back to track its backup reads the row, and that is all."""

    async def run() -> None:
        ledger = SqliteLedger(tmp_path / "ledger.db", lease_seconds=LEASE)
        claim = await ledger.claim(KEY, "event")
        assert isinstance(claim, Granted)
        await ledger.created(claim, AcceptedBackup(id="b1"))
        statements.clear()
        await ledger.claim(KEY, "event", known=True)
        await ledger.aclose()

    asyncio.run(run())
    assert ["BEGIN", "SELECT", "COMMIT"] == [each.split()[0] for each in statements]
