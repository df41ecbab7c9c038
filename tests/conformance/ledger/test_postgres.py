"""The PostgreSQL ledger alone: a server that stops, restarts or is slow, and its password."""

import asyncio
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pytest

from events.outcome import AcceptedBackup, Category, Failure
from handler.backup.hooks import LedgerCommit
from handler.backup.ports import Busy, Created, Finished, Granted, Key
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger import postgres_waiting
from handler.ledger.ledger import StoredLedger
from handler.ledger.postgres_schema import MIGRATIONS
from handler.ledger.stores import open_ledger
from tests import postgres

pytestmark = pytest.mark.anyio

KEY = Key("project", "snapshot")


@pytest.fixture
def url(postgres_server: postgres.Server) -> str:
    """The URL of an empty database."""
    return postgres_server.create(f"ledger_{uuid.uuid4().hex}")


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[StoredLedger]:
    """A ledger in an empty database."""
    opened = open_ledger(url, lease_seconds=60)
    yield opened
    await opened.aclose()


async def test_server_restarted(own_server: postgres.Server) -> None:
    """While the server is down the ledger is unavailable; when it is back, every promise is there."""
    ledger = open_ledger(own_server.url(), lease_seconds=60)
    claim = await ledger.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id="b1"))
    own_server.stop()
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match="LEDGER_URL"):
            await ledger.claim(KEY, "cause")
    own_server.start()
    assert isinstance(await ledger.claim(KEY, "cause"), Created)
    await ledger.aclose()


@pytest.mark.parametrize(("known", "trips"), [(False, 1), (True, 2)], ids=["usual", "by the rules"])
async def test_a_change_takes_few_round_trips(
    ledger: StoredLedger, tmp_path: Path, *, known: bool, trips: int
) -> None:
    """A usual change takes one. By the rules one begins and locks the row, and one writes and commits."""

    def log_into(transaction: Any) -> BinaryIO:
        log = (tmp_path / "messages").open("wb")
        transaction._connection.pgconn.trace(log.fileno())
        return log

    store: Any = ledger._store
    log = await store._run(log_into)
    await ledger.claim(KEY, "cause", known=known)
    await store._run(lambda transaction: transaction._connection.pgconn.untrace())
    log.close()
    # Those of the claim, the commit of the first block, and the beginning of the last block.
    assert trips + 2 == (tmp_path / "messages").read_text().count("\tSync")


async def test_connection_ended_by_the_server(ledger: StoredLedger, url: str) -> None:
    """A connection that an administrator ends fails one call, and the next one succeeds."""
    await ledger.check()
    _end_connections(url)
    with pytest.raises(LedgerUnavailable):
        await ledger.claim(KEY, "cause")
    assert isinstance(await ledger.claim(KEY, "cause"), Granted)


def _end_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_clock_is_the_databases(url: str) -> None:
    """A worker whose clock is an hour off neither steals leases nor waits an hour."""
    wrong = open_ledger(url, lease_seconds=60, clock=lambda: 4e9)
    right = open_ledger(url, lease_seconds=60)
    assert isinstance(await wrong.claim(KEY, "one"), Granted)
    mine, theirs = await right.claim(KEY, "two"), await wrong.claim(KEY, "three")
    await asyncio.gather(wrong.aclose(), right.aclose())
    assert isinstance(mine, Busy)
    assert mine == theirs


async def test_groups_in_opposite_order_do_not_block_each_other(url: str) -> None:
    """Two workers that lock the same rows in opposite order both get their answers."""
    one, two = open_ledger(url, lease_seconds=60), open_ledger(url, lease_seconds=60)
    keys = [Key("p", str(number)) for number in range(100)]
    for round_ in range(5):
        claims = await asyncio.gather(
            *(one.claim(key, f"1-{round_}") for key in keys),
            *(two.claim(key, f"2-{round_}") for key in keys[::-1]),
        )
        granted = [claim for claim in claims if isinstance(claim, Granted)]
        assert len(keys) == len(granted)
        await asyncio.gather(*((one if claim in claims[:100] else two).release(claim) for claim in granted))
    await asyncio.gather(one.aclose(), two.aclose())


@pytest.mark.parametrize(
    ("server_s", "ours"),
    [("off", "on"), ("local", "on"), ("remote_write", "remote_write"), ("remote_apply", "remote_apply")],
)
async def test_commits_are_durable_where_the_server_is_lax(
    ledger: StoredLedger, url: str, server_s: str, ours: str
) -> None:
    """The ledger overrules a ``synchronous_commit`` of ``off`` and ``local``; a stricter one stays."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {server_s}")
    setting = await ledger._store._run(  # type: ignore[attr-defined]  # the grouped store's
        lambda transaction: transaction._connection.execute("SHOW synchronous_commit").fetchone()
    )
    assert setting == (ours,)


async def test_options_of_a_service_file_count(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search path of a service file is where the ledger has its tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA apart")
    (tmp_path / "services").write_text("[ledger]\noptions=-c search_path=apart\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    ledger = open_ledger(f"{url}?service=ledger", lease_seconds=60)
    await ledger.check()
    await ledger.aclose()
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('apart.snapshot_backup_ledger') IS NOT NULL")
        assert found.fetchone() == (True,)


async def test_password_is_not_in_an_error() -> None:
    """The error of an unreachable server has no password."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        url = f"postgresql://user:s3cr%20et@127.0.0.1:{closed.getsockname()[1]}/db"
        ledger = open_ledger(url, lease_seconds=60)
        with pytest.raises(LedgerUnavailable, match=r"LEDGER_URL: .*refused") as caught:
            await ledger.check()
        await ledger.aclose()
    assert "s3cr" not in repr(caught.value) + repr(caught.value.__cause__)


def test_bad_url_is_not_quoted() -> None:
    """A bad URL stops the program at start, and the error does not quote it."""
    with pytest.raises(SettingsError, match="LEDGER_URL") as caught:
        open_ledger("postgresql://user:s3cret@host:port:port/db?nothing=1", lease_seconds=60)
    assert "s3cret" not in repr(caught.value)


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg, the error says what to install."""
    monkeypatch.setitem(sys.modules, "handler.ledger.postgres", None)
    with pytest.raises(SettingsError, match=r"LEDGER_URL: .*snapshot-backup\[postgres\]"):
        open_ledger("postgresql://host/db", lease_seconds=60)


async def test_newer_schema_is_refused(ledger: StoredLedger, url: str) -> None:
    """An older release does not change the ledger of a newer one."""
    await ledger.check()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE snapshot_backup_schema SET version = %s", (len(MIGRATIONS) + 1,))
    older = open_ledger(url, lease_seconds=60)
    with pytest.raises(LedgerUnavailable, match="run a newer release"):
        await older.check()
    await older.aclose()


async def test_concurrent_claims_share_commits(url: str) -> None:
    """Two hundred claims that arrive together need far fewer commits."""
    commits: list[LedgerCommit] = []
    ledger = open_ledger(url, lease_seconds=60, notify=commits.append)
    await asyncio.gather(*(ledger.claim(Key("p", str(number)), "c") for number in range(200)))
    await ledger.aclose()
    assert sum(commit.changes for commit in commits) == 200
    assert len(commits) < 50


async def test_a_look_up_makes_no_row(ledger: StoredLedger, url: str) -> None:
    """Looking up an unknown snapshot leaves no row in the table."""
    assert await ledger.look_up(KEY) is None
    assert 0 == _rows(url)


async def test_a_prune_deletes_rows_that_were_only_locked(ledger: StoredLedger, url: str) -> None:
    """The placeholder of a change that wrote nothing is deleted, and not counted as a snapshot."""
    await ledger.release(Granted(KEY, "unknown"))
    assert 1 == _rows(url)
    assert await ledger.prune(0) == 0
    assert 0 == _rows(url)


def _rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM snapshot_backup_ledger").fetchall()
    return int(found[0][0])


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "UTF8"])
async def test_a_database_of_any_encoding_keeps_every_text(
    postgres_server: postgres.Server, encoding: str
) -> None:
    """``LANG=C`` makes databases of SQL_ASCII; the failure texts of an API have letters of all kinds."""
    url = postgres_server.create(f"ledger_{uuid.uuid4().hex}", encoding=encoding)
    ledger = open_ledger(f"{url}?client_encoding=LATIN1", lease_seconds=60)
    failure = Failure(category=Category.REFUSED, message="Kein Platz für «快照» …")
    claim = await ledger.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    await ledger.refused(claim, "cause", failure, attempts=1)
    end = await ledger.claim(KEY, "cause")
    await ledger.aclose()

    assert isinstance(end, Finished)
    assert failure == end.failure


async def test_locked_rows_make_the_ledger_unavailable_for_a_while(ledger: StoredLedger, url: str) -> None:
    """A row that stays locked makes a claim fail after a timeout instead of waiting for ever."""
    await ledger.claim(KEY, "cause")
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM snapshot_backup_ledger FOR UPDATE")
        with pytest.raises(LedgerUnavailable, match="lock"):
            await ledger.claim(KEY, "cause")
    assert isinstance(await ledger.claim(KEY, "cause"), Busy)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (postgres_waiting._FORGET_OLD, "snapshot_backup_waiting_by_sweep"),
        (postgres_waiting._FORGET_OLD_SWEPT, "snapshot_backup_waiting_swept"),
    ],
)
async def test_old_records_are_found_by_an_index(
    url: str, ledger: StoredLedger, statement: str, index: str
) -> None:
    """A step of a prune reads a range of an index, and not all messages that wait."""
    await ledger.check()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO snapshot_backup_waiting SELECT n::text, 'p', n::text, 'track', 1, 0, n, n, n % 2, ''"
            " FROM generate_series(1000, 20000) AS n"
        )
        connection.execute("ANALYZE snapshot_backup_waiting")
        found = connection.execute(f"EXPLAIN {statement}".encode(), (0.0, 500)).fetchall()
    plan = "\n".join(line for (line,) in found)
    assert f"using {index}" in plan
    assert "Seq Scan" not in plan
