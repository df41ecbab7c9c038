"""The SQLite ledger alone: power failures, full disks, locks, and other programs that use its file."""

import asyncio
import os
import random
import resource
import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from events.outcome import AcceptedBackup
from handler.backup.hooks import LedgerCommit
from handler.backup.ports import Busy, Created, Granted, Key
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.group import GroupStore
from handler.ledger.memory import MemoryLedger
from handler.ledger.sqlite import SqliteBackend, SqliteLedger, sqlite_path
from handler.ledger.sqlite_schema import MIGRATIONS
from handler.ledger.stores import open_ledger

pytestmark = pytest.mark.anyio

KEY = Key("project", "snapshot")
CUTS = 500
SEED = 20261123
SOMETHING_ELSE = b"an operator's only copy" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqliteLedger]:
    """A ledger whose file does not exist yet."""
    opened = SqliteLedger(path)
    yield opened
    await opened.aclose()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's right to write everywhere, for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``room`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def grant(ledger: SqliteLedger, key: Key = KEY) -> Granted:
    """Claim a snapshot whose claim must be granted."""
    claim = await ledger.claim(key, "cause")
    assert isinstance(claim, Granted)
    return claim


async def test_power_cut_forgets_no_promise(tmp_path: Path) -> None:
    """T22: whatever unsynced writes the disk loses, every promise that returned is found again."""
    path, wal, sizes = tmp_path / "a.db", tmp_path / "a.db-wal", []
    ledger = SqliteLedger(path)
    for number in range(60):
        claim = await grant(ledger, Key("p", str(number)))
        await ledger.created(claim, AcceptedBackup(id=str(number)))
        sizes.append(wal.stat().st_size)
    print("seed", SEED)
    cuts = random.Random(SEED).choices(range(sizes[0], sizes[-1] + 1), k=CUTS - len(sizes)) + sizes
    contents, database = wal.read_bytes(), path.read_bytes()
    await ledger.aclose()
    for cut in cuts:
        _write_cut(tmp_path / "b.db", database, contents[:cut])
        promised = sum(size <= cut for size in sizes)
        known = _created_in(tmp_path / "b.db")
        assert promised <= known <= promised + 1, f"cut at {cut}"


def _write_cut(path: Path, database: bytes, wal: bytes) -> None:
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    path.write_bytes(database)
    path.with_name(f"{path.name}-wal").write_bytes(wal)


def _created_in(path: Path) -> int:
    """Count the created backups with the backend itself, without the thread that 500 cuts need not start."""
    backend = SqliteBackend(path, lambda: 0.0)
    with backend.transaction([]) as transaction:
        rows = [transaction.load(Key("p", str(number))) for number in range(60)]
    backend.close()
    made = [row is not None and row.backup is not None for row in rows]
    assert made == sorted(made, reverse=True), "a later promise is known and an earlier one is not"
    return sum(made)


async def test_every_commit_is_synced(ledger: SqliteLedger) -> None:
    """The file is in WAL mode with ``synchronous=FULL`` (2); otherwise a power failure loses commits."""
    await ledger.check()
    store = ledger._store
    assert isinstance(store, GroupStore)
    modes = await store._run(
        lambda transaction: [
            transaction._connection.execute(f"PRAGMA {name}").fetchone()[0]  # type: ignore[attr-defined]  # SQLite's
            for name in ("journal_mode", "synchronous")
        ]
    )
    assert modes == ["wal", 2]


async def test_full_disk(ledger: SqliteLedger) -> None:
    """T23: a full disk makes the ledger unavailable; with room again, it works and has every promise."""
    kept = await grant(ledger)
    with full_disk(room=512):
        for number in range(3):
            with pytest.raises(LedgerUnavailable, match="LEDGER_URL"):
                await ledger.claim(Key("p", str(number)), "cause")
    for number in range(3):
        await grant(ledger, Key("p", str(number)))
    assert isinstance(await ledger.claim(KEY, "other"), Busy)
    assert await ledger.holds(kept)


async def test_locked_file(ledger: SqliteLedger, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T23: a file that another program locks makes the ledger unavailable while the lock lasts."""
    monkeypatch.setattr("handler.ledger.sqlite.BUSY_SECONDS", 0.1)
    await ledger.check()
    await ledger.aclose()
    again = SqliteLedger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = await asyncio.gather(
            *(again.claim(Key("p", str(number)), "c") for number in range(5)), return_exceptions=True
        )
        assert [LedgerUnavailable] * 5 == [type(answer) for answer in answers]
        other.execute("ROLLBACK")
    await grant(again)
    await again.aclose()


async def test_short_lock_is_waited_for(ledger: SqliteLedger, path: Path) -> None:
    """A claim waits for a short lock of another process."""
    await ledger.check()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        claim = asyncio.ensure_future(ledger.claim(KEY, "cause"))
        done, _ = await asyncio.wait([claim], timeout=0.2)
        assert not done
        other.execute("ROLLBACK")
    assert isinstance(await claim, Granted)


async def test_read_only_file(open_folder: Path) -> None:
    """T23: a read-only file makes the ledger unavailable until it can be written again."""
    path = open_folder / "ledger.db"
    with unprivileged():
        ledger = SqliteLedger(path)
        await grant(ledger)
        await ledger.aclose()
        path.chmod(0o400)
        ledger = SqliteLedger(path)
        with pytest.raises(LedgerUnavailable, match="cannot be written"):
            await ledger.claim(Key("p", "2"), "cause")
        path.chmod(0o600)
        assert isinstance(await ledger.claim(KEY, "cause"), Busy)
        await grant(ledger, Key("p", "2"))
        await ledger.aclose()


async def test_missing_folder(tmp_path: Path) -> None:
    """The error names the missing folder and the setting; the folder may be created later."""
    ledger = SqliteLedger(tmp_path / "later" / "ledger.db")
    with pytest.raises(LedgerUnavailable, match=r"LEDGER_URL: .*later/ledger\.db: the folder does not exist"):
        await ledger.check()
    (tmp_path / "later").mkdir()
    await ledger.check()
    await ledger.aclose()


async def test_file_that_is_something_else(ledger: SqliteLedger, path: Path) -> None:
    """A file that is no database is left as it is."""
    _write_cut(path, SOMETHING_ELSE, b"")
    with pytest.raises(LedgerUnavailable, match="not a database"):
        await ledger.check()
    with path.open("rb") as file:
        assert SOMETHING_ELSE == file.read()


async def test_file_that_was_replaced(ledger: SqliteLedger, path: Path, tmp_path: Path) -> None:
    """The ledger notices that its file was replaced (a restored copy), and uses the new one."""
    other = SqliteLedger(tmp_path / "other.db")
    await other.created(await grant(other), AcceptedBackup(id="b1"))
    await other.aclose()
    await ledger.check()
    (tmp_path / "other.db").replace(path)
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink()
    with pytest.raises(LedgerUnavailable, match="moved or replaced"):
        await ledger.claim(KEY, "cause")
    assert isinstance(await ledger.claim(KEY, "cause"), Created)


async def test_files_are_private(ledger: SqliteLedger, path: Path) -> None:
    """Only the owner can read the ledger's file and its write-ahead log."""
    await grant(ledger)
    files = [path, *path.parent.glob("ledger.db-*")]
    assert [0o600] * 3 == [stat.S_IMODE(file.stat().st_mode) for file in files]


async def test_newer_schema_is_refused(ledger: SqliteLedger, path: Path) -> None:
    """An older release does not change the ledger of a newer one."""
    await ledger.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer = SqliteLedger(path)
    with pytest.raises(LedgerUnavailable, match="run a newer release"):
        await newer.check()
    await newer.aclose()


async def test_promises_outlive_the_process(ledger: SqliteLedger, path: Path) -> None:
    """A second ledger over the file reads what the first one wrote."""
    await ledger.created(await grant(ledger), AcceptedBackup(id="b1"))
    await ledger.aclose()
    again = SqliteLedger(path)
    assert isinstance(await again.claim(KEY, "cause"), Created)
    await again.aclose()


async def test_concurrent_claims_share_commits(path: Path) -> None:
    """Two hundred claims that arrive together need far fewer commits."""
    commits: list[LedgerCommit] = []
    ledger = SqliteLedger(path, notify=commits.append)
    await asyncio.gather(*(ledger.claim(Key("p", str(number)), "c") for number in range(200)))
    await ledger.aclose()
    assert sum(commit.changes for commit in commits) == 200
    assert len(commits) < 50


async def test_close_answers_a_claim_of_the_same_iteration(ledger: SqliteLedger) -> None:
    """A claim that was made in the same loop iteration as the close is still answered."""
    claim, _ = await asyncio.gather(ledger.claim(KEY, "cause"), ledger.aclose())
    assert isinstance(claim, Granted)


def test_several_loops_share_a_ledger(path: Path) -> None:
    """Each call of a function may have an event loop of its own; the ledger works on all of them."""
    ledger = SqliteLedger(path)
    claims = [asyncio.run(ledger.claim(KEY, "cause")) for _ in range(3)]
    asyncio.run(ledger.aclose())
    assert [Granted, Busy, Busy] == [type(claim) for claim in claims]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///snapshot-backup.db", "snapshot-backup.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:///./a b.db", "a b.db"),
    ],
)
def test_urls(url: str, path: str) -> None:
    """Three slashes begin a relative path, four an absolute one."""
    assert Path(path) == sqlite_path(url)


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite://", "sqlite:///", "sqlite:x.db", "sqlite:///x.db?a=1", "mysql://x"]
)
def test_bad_urls(url: str) -> None:
    """A URL that names no ledger stops the program at start with an error that names the setting."""
    with pytest.raises(SettingsError, match="LEDGER_URL"):
        open_ledger(url, lease_seconds=1)


async def test_none_asks_the_api_first() -> None:
    """Without a ledger, the API is asked before each first try."""
    ledger = open_ledger("none", lease_seconds=20)
    claim = await ledger.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    assert claim.ask_first
    await ledger.aclose()


async def test_unsettled_rows_outlive_a_short_retention() -> None:
    """A row without an end is kept for thirty days under any retention, and deleted after that."""
    now = 0.0
    ledger = MemoryLedger(clock=lambda: now)
    claim = await ledger.claim(KEY, "cause")
    assert isinstance(claim, Granted)
    await ledger.created(claim, AcceptedBackup(id="b1"))
    now = 29 * 86400.0
    assert await ledger.prune(86400) == 0
    now = 31 * 86400.0
    assert await ledger.prune(86400) == 1


async def test_memory_is_bounded() -> None:
    """The ledger in memory drops its oldest idle row first, and never a claim."""
    ledger = MemoryLedger(max_idle=2)
    claims = [await ledger.claim(Key("p", str(number)), "c") for number in range(5)]
    for claim in claims[:4]:
        assert isinstance(claim, Granted)
        await ledger.created(claim, AcceptedBackup(id="b"))
    kept = [await ledger.look_up(Key("p", str(number))) is not None for number in range(5)]
    assert kept == [False, False, True, True, True]
