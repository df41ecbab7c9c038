"""The audit journal over every store."""

from typing import Any

import pytest

from handler.ledger import audit_rows, memory_audit, postgres, postgres_audit, sqlite, sqlite_audit
from handler.ledger.audit import Act
from handler.ledger.control import control_of
from handler.ledger.group import GroupStore
from handler.ledger.ledger import StoredLedger
from tests.conformance.ledger.test_migrations import Database, database

__all__ = ["database"]

pytestmark = pytest.mark.anyio
DROP = Act("1", "session x at 127.0.0.1", "drop", "categories quota")
MONTHS = 40 * 86_400.0


async def test_an_act_has_its_begin_and_its_end(ledger: StoredLedger) -> None:
    """An act without an end is one line, and its end is added to that line; another queue has none of it."""
    await ledger.save_act("q", DROP)
    [begun] = await ledger.acts("q", 9)
    await ledger.save_act("q", DROP._replace(number=3, outcome="done"))
    [ended] = await ledger.acts("q", 9)

    assert (None, None, None) == (begun.ended, begun.number, begun.outcome)
    assert DROP._replace(at=begun.at, ended=ended.ended, number=3, outcome="done") == ended
    assert ended.ended
    assert 1e9 < begun.at <= ended.ended
    assert [] == list(await ledger.acts("other", 9))


async def test_the_latest_acts_of_each_queue_are_kept(
    ledger: StoredLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the most that are kept, the oldest of the same queue are forgotten."""
    for module in (audit_rows, memory_audit):
        monkeypatch.setattr(module, "MOST_ACTS", 3)
    await ledger.save_act("other", DROP._replace(id="0"))
    for number in range(5):
        await ledger.save_act("q", DROP._replace(id=f"q{number}"))

    assert ["q4", "q3", "q2"] == [act.id for act in await ledger.acts("q", 9)]
    assert ["q4"] == [act.id for act in await ledger.acts("q", 1)]
    assert ["0"] == [act.id for act in await ledger.acts("other", 9)]


async def test_a_prune_keeps_the_acts_of_a_month(ledger: StoredLedger) -> None:
    """A prune of everything forgets no act of the last 30 days, and older ones."""
    await ledger.save_act("q", DROP)
    [act] = await ledger.acts("q", 9)
    await ledger.prune(0.0)
    assert [act] == list(await ledger.acts("q", 9))
    await ledger.prune(0.0, as_of=act.at + MONTHS)
    assert [] == list(await ledger.acts("q", 9))


async def test_a_ledger_without_an_audit_journal_gets_one(database: Database) -> None:
    """A ledger of the release before keeps what operators have set, and takes acts from then on."""
    mine: dict[type[Any], Any] = {
        sqlite.SqliteBackend: sqlite_audit,
        postgres.PostgresBackend: postgres_audit,
    }
    present = database.present
    backend = database.backend(present)
    before = present[: list(present).index(mine[type(backend)].MIGRATION)]
    backend.close()
    earlier = StoredLedger(GroupStore(database.backend(before), "ledger-earlier"), lease_seconds=60.0)
    await earlier.pause("q", reason="upgrade")
    await earlier.aclose()
    later = StoredLedger(GroupStore(database.backend(present), "ledger-later"), lease_seconds=60.0)
    try:
        await later.save_act("q", DROP)
        paused = (await later.control("q")).queue
        assert paused
        assert "upgrade" == paused.reason
        assert ["drop"] == [act.what for act in await later.acts("q", 9)]
        assert control_of(()) == await later.control("other")
    finally:
        await later.aclose()
