"""The quick path in PostgreSQL, also behind PgBouncer: it does what the rules do, in one round trip."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings

from events.outcome import AcceptedBackup, CompletedBackup
from handler.backup.ports import Busy, Created, Finished, Granted, Key
from handler.ledger import postgres_quick
from handler.ledger.ledger import StoredLedger
from handler.ledger.row import RowState
from handler.ledger.stores import open_ledger
from handler.ledger.tombstones import tombstone
from handler.telemetry.counters import LedgerCounters
from tests import postgres
from tests.conformance.ledger.conftest import database_url
from tests.twins.two_paths import STEPS, WITH_A_SLOT, Step, Walker, without_quick_path

KEYS = [Key("project", f"snapshot {number}") for number in range(20)]
DONE = Finished(CompletedBackup(id="b1", status="available"))


def timeless(value: Any) -> Any:
    """Return a value without its times, which come from the database's clock."""
    if isinstance(value, float):
        return bool(value)
    if is_dataclass(value) and not isinstance(value, type):
        return timeless(asdict(value))
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [timeless(each) for each in value]
    return value


def test_both_paths_give_the_same_rows_and_answers(postgres_server: postgres.Server) -> None:
    """Each answer of a walk, and in the end rows, journals, sums and report, are those of the rules alone."""
    _compare(postgres_server, lease=60.0, walks=8)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("lease", [60.0, 0.0])
def test_both_paths_are_the_same_in_many_walks(lease: float, postgres_server: postgres.Server) -> None:
    """Both paths are the same in 500 walks, with leases that hold and with leases that end at once."""
    _compare(postgres_server, lease=lease, walks=500)


def _compare(server: postgres.Server, *, lease: float, walks: int) -> None:
    numbers = itertools.count()
    quick, plain = (open_ledger(server.emptied(name), lease_seconds=lease) for name in ("quick", "plain"))
    ledgers = (quick, without_quick_path(plain))

    async def walk(steps: Sequence[Step]) -> None:
        key = Key("project", f"snapshot {next(numbers)}")
        walkers = [Walker(each, key) for each in ledgers]
        for step in steps:
            first, second = [timeless(await each.do(step)) for each in walkers]
            assert first == second, step
        first, second = [timeless(await each.kept()) for each in walkers]
        assert first == second

    with asyncio.Runner() as runner:

        @settings(max_examples=walks)
        @example(WITH_A_SLOT)
        @given(STEPS)
        def check(steps: Sequence[Step]) -> None:
            runner.run(walk(steps))

        check()
        runner.run(quick.aclose())
        runner.run(plain.aclose())


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["postgres", "pgbouncer"], indirect=True)
async def test_a_group_of_usual_changes_is_one_transaction(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty claims, twenty backups and twenty ends are made without the rules."""
    made: list[Sequence[bool]] = []
    run = postgres_quick.run

    def counted(*arguments: Any) -> Sequence[bool]:
        made.append(run(*arguments))
        return made[-1]

    monkeypatch.setattr(postgres_quick, "run", counted)
    counters = LedgerCounters()
    ledger = open_ledger(url, lease_seconds=60, notify=counters.count)
    await ledger.check()
    claims = await asyncio.gather(*(ledger.claim(key, "event") for key in KEYS))
    await asyncio.gather(
        *(ledger.created(each, AcceptedBackup(id="b1")) for each in claims if isinstance(each, Granted))
    )
    rows = [await ledger.look_up(key) for key in KEYS]
    await asyncio.gather(*(ledger.finished(key, DONE, backup_id="b1", cause="event") for key in KEYS))
    await ledger.aclose()
    assert [[True] * len(KEYS)] * 3 == made
    assert {RowState.CREATED} == {row and row.state for row in rows}


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_one_of_two_claims_in_a_group_is_granted(url: str) -> None:
    """Of claims of one snapshot in one group, one is granted, and the other is busy."""
    ledger = open_ledger(url, lease_seconds=60)
    await ledger.check()
    answers = await asyncio.gather(*(ledger.claim(KEYS[0], f"event {number}") for number in range(3)))
    await ledger.aclose()
    assert ["Busy", "Busy", "Granted"] == sorted(type(each).__name__ for each in answers)


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_claim_that_waits_for_a_prune_says_to_look_up_first(url: str) -> None:
    """A claim waits for a prune that deletes its row: the tombstone was not there when it began."""
    ledger = open_ledger(url, lease_seconds=60)
    await _backed_up(ledger, KEYS[0])
    await ledger.check()
    with psycopg.connect(url) as prune, psycopg.connect(url, autocommit=True) as look:
        prune.execute("DELETE FROM snapshot_backup_ledger")
        prune.execute("INSERT INTO snapshot_backup_tombstone VALUES (%s)", (tombstone(KEYS[0]),))
        claim = asyncio.create_task(ledger.claim(KEYS[0], "another event"))
        await _blocks(prune, look)
        prune.commit()
        answer = await claim
    await ledger.aclose()
    assert isinstance(answer, Granted)
    assert answer.ask_first


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_row_that_another_worker_has_locked_is_left_to_the_rules(url: str) -> None:
    """A backup is recorded once the other worker's transaction has ended, not beside it."""
    ledger = open_ledger(url, lease_seconds=60)
    claim = await ledger.claim(KEYS[0], "event")
    assert isinstance(claim, Granted)
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as look:
        other.execute("SELECT 1 FROM snapshot_backup_ledger FOR UPDATE")
        created = asyncio.create_task(ledger.created(claim, AcceptedBackup(id="b1")))
        await _blocks(other, look)
        assert not created.done()
        other.commit()
        await created
    assert isinstance(await ledger.claim(KEYS[0], "event"), Created)
    await ledger.aclose()


async def _backed_up(ledger: StoredLedger, key: Key) -> None:
    claim = await ledger.claim(key, "event")
    assert not isinstance(claim, Busy)
    await ledger.finished(key, DONE, backup_id="b1", cause="event")


async def _blocks(connection: "psycopg.Connection[Any]", look: "psycopg.Connection[Any]") -> None:
    """Wait until another transaction waits for this one, which it does for two seconds at most."""
    blocked = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    while not look.execute(blocked, (connection.info.backend_pid,)).fetchall():  # noqa: ASYNC110 - in a server
        await asyncio.sleep(0.01)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, directly or by way of PgBouncer."""
    return database_url(request)
