"""The ledger in one SQLite file, for any number of processes on one machine."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from handler.backup.hooks import OnLedgerCommit, noop
from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger import sqlite_quick
from handler.ledger.columns import from_columns, to_columns
from handler.ledger.group import GroupStore
from handler.ledger.inquiry import Known, SnapshotRecord, joined
from handler.ledger.journal import MOST_CHARACTERS
from handler.ledger.ledger import StoredLedger, new_state_key
from handler.ledger.quick import QuickChange
from handler.ledger.reasons import MAY_WRITE, RUN_NEWER, of_sqlite
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row, Slot
from handler.ledger.sqlite_audit import SqliteAudit
from handler.ledger.sqlite_control import SqliteControl
from handler.ledger.sqlite_journal import SqliteJournal
from handler.ledger.sqlite_pruning import SqliteOldRows
from handler.ledger.sqlite_schema import MIGRATIONS, NewerSchema, migrate
from handler.ledger.sqlite_slots import SqliteSlots
from handler.ledger.sqlite_waiting import SqliteRecords
from handler.ledger.tombstones import tombstone

BUSY_SECONDS = 2.0
"""How long to wait for a locked file. Then the ledger is unavailable, and the circuit breaker opens."""

STUCK_SECONDS = 5.0
"""After so long a transaction is stuck: the disk does not answer. A lock takes ``BUSY_SECONDS`` at most."""

_LOAD = (
    "SELECT state, token, lease_until, updated_at, rest FROM ledger WHERE project_id = ? AND snapshot_id = ?"
)
# INSERT OR REPLACE would give the row a new rowid, and so write pages of every index again.
_ADDED = f"substr(ledger.journal || excluded.journal, -{MOST_CHARACTERS})"
_SAVE = f"""
INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (project_id, snapshot_id) DO UPDATE SET state = excluded.state, token = excluded.token,
    lease_until = excluded.lease_until, updated_at = excluded.updated_at, settled = excluded.settled,
    rest = excluded.rest, journal = {_ADDED}
"""  # noqa: S608 - made of constants
_IS_PRUNED = "SELECT 1 FROM ledger_tombstone WHERE id = ?"
_TOUCH = "INSERT OR REPLACE INTO ledger_check VALUES (1, ?)"
_LOAD_KEY = "SELECT state_key FROM ledger_key WHERE id = 1"
_SAVE_KEY = "INSERT INTO ledger_key VALUES (1, ?)"


class SqliteTransaction(SqliteRecords, SqliteOldRows, SqliteControl, SqliteAudit):
    """A ``handler.ledger.backend.Transaction`` on a connection that holds the write lock."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        super().__init__(connection, now)
        self._slots = SqliteSlots(connection, now)
        self.journal = SqliteJournal(connection, now)

    def load(self, key: Key) -> Row | None:
        """Read a row."""
        columns = self._connection.execute(_LOAD, (key.project_id, key.snapshot_id)).fetchone()
        return None if columns is None else from_columns(*columns)

    def save(self, key: Key, row: Row, journal: str) -> None:
        """Write a row, and add to its journal."""
        self._connection.execute(_SAVE, (key.project_id, key.snapshot_id, *to_columns(row), journal))

    def quick(self, change: QuickChange) -> bool:
        """Make a quick change."""
        return sqlite_quick.run(self._connection, self.journal, self.now, change)

    def slots(self, groups: Sequence[str]) -> Slots:
        """Return the slots of groups: the transaction has the file's write lock."""
        return self._slots.load(groups)

    def move_slot(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Write a row's slot."""
        self._slots.move(key, before, after)

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        return self._slots.running()

    def flush(self) -> None:
        """Write what the transaction has kept until its end."""
        self._slots.flush()
        self.journal.flush()

    def forget_old(self, before: float) -> None:
        """Delete what is too old of slots, replaced copies, workers and acts: few rows of each."""
        self._slots.forget_old()
        self.forget_replaced()
        self.forget_workers()
        self.forget_acts(before)

    def has_forgotten(self, key: Key) -> bool:
        """Look for a tombstone."""
        return self._connection.execute(_IS_PRUNED, (tombstone(key),)).fetchone() is not None

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""
        found = self.journal.find(snapshot_id, project_id)
        rows = [Known(Key(p, s), from_columns(*rest), journal) for journal, p, s, *rest in found]
        return joined(rows, self.records_of(snapshot_id, project_id))

    def touch(self) -> None:
        """Write to the table of checks."""
        self._connection.execute(_TOUCH, (self.now,))

    def state_key(self) -> str:
        """Read the key, or write one: the transaction has the file's write lock."""
        found = self._connection.execute(_LOAD_KEY).fetchone()
        if found is None:
            found = (new_state_key(),)
            self._connection.execute(_SAVE_KEY, found)
        return str(found[0])


class SqliteBackend:
    """A ``handler.ledger.backend.Backend`` with one connection to one file.

    WAL mode with ``synchronous=FULL``: a commit survives a power failure.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        *,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self._path = path.absolute()
        self._clock = clock
        self._migrations = migrations
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    @contextmanager
    def transaction(
        self, keys: Sequence[Key], copies: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> Iterator[SqliteTransaction]:
        """Run the block in a transaction that holds the file's write lock from its start."""
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            transaction = SqliteTransaction(connection, self._clock())
            yield transaction
            transaction.flush()
            connection.execute("COMMIT")
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            self.close()  # the row's fault, not the file's
            raise
        except (sqlite3.DatabaseError, OSError) as error:
            self.close()
            raise self._unavailable(error) from error
        except BaseException:
            self.close()
            raise

    def commit_quick(self, changes: Sequence[QuickChange]) -> Sequence[bool] | None:
        """Return None: quick changes are made one by one in a transaction, beside others."""
        return None

    @property
    def longest(self) -> float:
        """After how many seconds a transaction is stuck: nothing of ours, nor a lock, takes so long."""
        return STUCK_SECONDS

    def interrupt(self) -> None:
        """Nothing ends a write that the disk does not finish; once it has, the transaction goes on."""

    def stuck(self, seconds: float) -> LedgerUnavailable:
        """Return what to raise while a transaction is stuck."""
        return of_sqlite(f"no answer of the disk within {seconds:.0f} s", str(self._path))

    def close(self) -> None:
        """Close the connection, which rolls back what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._have_file()
            self._connection = _connect(self._path)
            self._inode = _inode(self._path)
            migrate(self._connection, self._migrations)
        elif self._inode != _inode(self._path):
            # The open file has no name any more: what is written to it is lost when the process ends.
            raise LedgerUnavailable(
                "the file was moved or replaced",
                "nothing: the next use opens the file that is there now",
                place=self._place,
            )
        return self._connection

    def _have_file(self) -> None:
        """Create the file, mode 0600, where it is missing; SQLite gives its -wal and -shm files that mode."""
        if not self._path.parent.is_dir():
            raise LedgerUnavailable("the folder does not exist", "create it", place=self._place)
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        # SQLite would open a read-only file, and create its -wal and -shm files read-only. They would stay so
        # when the file can be written again.
        if not os.access(self._path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise LedgerUnavailable("the file cannot be written", MAY_WRITE, place=self._place)

    @property
    def _place(self) -> str:
        return f"LEDGER_URL: {self._path}"

    def _unavailable(self, error: Exception) -> LedgerUnavailable:
        if isinstance(error, NewerSchema):
            return LedgerUnavailable(str(error), RUN_NEWER, place=self._place)
        return of_sqlite(str(error), str(self._path))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        # Read it first: changing it needs exclusive access, which another process may prevent.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


class SqliteLedger(StoredLedger):
    """The ledger in a SQLite file."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = 20.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        notify: OnLedgerCommit = noop,
    ) -> None:
        store = GroupStore(SqliteBackend(path, clock), "ledger-sqlite", notify)
        super().__init__(store, lease_seconds=lease_seconds, monotonic=monotonic)


def sqlite_path(url: str) -> Path:
    """Return the path in ``sqlite:///file.db`` or ``sqlite:////folder/file.db``. Raises ``SettingsError``."""
    prefix, slashes, path = url.partition("///")
    if prefix != "sqlite:" or not slashes or not path or "?" in path:
        raise SettingsError("LEDGER_URL: must be sqlite:///relative.db or sqlite:////absolute/path.db")
    if path == ":memory:":
        raise SettingsError(
            "LEDGER_URL: a SQLite ledger in memory is lost when the process ends; set a file, "
            "such as sqlite:///snapshot-backup.db, or LEDGER_URL=none to ask the API before each create"
        )
    return Path(path)
