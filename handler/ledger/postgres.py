"""The ledger in PostgreSQL, for workers on several machines. All times come from the database's clock.

The rows of a group are locked in the order of their keys, so that the groups of two workers cannot deadlock.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg

from handler.backup.hooks import OnLedgerCommit, noop
from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable
from handler.ledger import postgres_quick, postgres_rows
from handler.ledger.group import GroupStore
from handler.ledger.inquiry import Known, SnapshotRecord, joined
from handler.ledger.ledger import StoredLedger, new_state_key
from handler.ledger.postgres_audit import PostgresAudit
from handler.ledger.postgres_connection import Connection, Server, commit
from handler.ledger.postgres_control import PostgresControl
from handler.ledger.postgres_journal import PostgresJournal
from handler.ledger.postgres_pruning import PostgresOldRows
from handler.ledger.postgres_rows import Locked
from handler.ledger.postgres_schema import MIGRATIONS, migrate
from handler.ledger.postgres_slots import PostgresSlots
from handler.ledger.postgres_timeline import readable
from handler.ledger.postgres_waiting import PostgresRecords
from handler.ledger.quick import QuickChange
from handler.ledger.reasons import of_postgres
from handler.ledger.room import RunningSummary
from handler.ledger.row import Row, Slot

_TOUCH = """
INSERT INTO snapshot_backup_check VALUES (1, %s)
ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at
"""

_SAVE_KEY = "INSERT INTO snapshot_backup_key VALUES (1, %s) ON CONFLICT DO NOTHING"
_LOAD_KEY = "SELECT state_key FROM snapshot_backup_key WHERE id = 1"


class PostgresTransaction(PostgresRecords, PostgresOldRows, PostgresControl, PostgresAudit):
    """A ``handler.ledger.backend.Transaction`` that writes its rows together at its end."""

    def __init__(self, connection: Connection, locked: Locked) -> None:
        super().__init__(connection, locked.now, locked.copies)
        self._rows, self._pruned = locked.rows, locked.pruned
        self._may_lack_commits = connection.timeline.is_new(locked.now)
        self._slots = PostgresSlots(connection, locked.now, locked.slots)
        self.journal = PostgresJournal(connection, locked.now)
        self._changed: dict[Key, tuple[Row, str]] = {}

    def load(self, key: Key) -> Row | None:
        """Read a row; it is locked where the transaction began with its key."""
        return self._rows[key] if key in self._rows else postgres_rows.load(self._connection, key)

    def save(self, key: Key, row: Row, journal: str) -> None:
        """Keep a row for ``flush``, and what is added to its journal."""
        before = self._changed[key][1] if key in self._changed else ""
        self._rows[key] = row
        self._changed[key] = row, before + journal

    def quick(self, change: QuickChange) -> bool:
        """Leave it to the rules: the transaction has read and locked the row."""
        return False

    def slots(self, groups: Sequence[str]) -> Slots:
        """Return the slots of groups, which the transaction has locked at its begin."""
        return self._slots.slots

    def move_slot(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Keep a row's slot for ``flush``."""
        self._slots.move(key, before, after)

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        return self._slots.running()

    def forget_old(self, before: float) -> None:
        """Delete what is too old of slots, replaced copies, workers and acts: few rows of each."""
        self._slots.forget_old()
        self.forget_replaced()
        self.forget_workers()
        self.forget_acts(before)

    def has_forgotten(self, key: Key) -> bool:
        """Return whether a key that the transaction began with has a tombstone, or commits may be lost."""
        return key in self._pruned or self._may_lack_commits

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""
        found = self.journal.find(snapshot_id, project_id)
        read = [(journal, *postgres_rows.read(tuple(rest))) for journal, *rest in found]
        rows = [Known(key, row, journal) for journal, key, row in read if row is not None]
        return joined(rows, self.records_of(snapshot_id, project_id))

    def touch(self) -> None:
        """Write to the table of checks."""
        self._connection.execute(_TOUCH, (self.now,))

    def state_key(self) -> str:
        """Read the key, or write one: of two who insert at once the second waits for the first."""
        if (found := self._load_key()) is None:
            self._connection.execute(_SAVE_KEY, (new_state_key(),))
            found = self._load_key()
        return str(found)

    def _load_key(self) -> object:
        found = self._connection.execute(_LOAD_KEY).fetchone()
        return None if found is None else found[0]

    def flush(self) -> None:
        """Write the rows that were saved."""
        if self._changed:
            postgres_rows.save(self._connection, self._changed)
        self._slots.flush()
        self.journal.flush()
        self.flush_records()


class PostgresBackend:
    """A ``handler.ledger.backend.Backend`` with one connection, opened when it is needed or was lost."""

    def __init__(self, url: str, *, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        self._server = Server(url)
        self._migrations = migrations
        self._connection: Connection | None = None

    @contextmanager
    def transaction(
        self, keys: Sequence[Key], copies: Sequence[str] = (), groups: Sequence[str] = ()
    ) -> Iterator[PostgresTransaction]:
        """Run the block in a transaction that has locked ``keys``."""
        with self._connected() as connection:
            locked = postgres_rows.lock(connection, keys, copies, groups)
            transaction = PostgresTransaction(connection, locked)
            yield transaction
            with connection.pipeline():
                transaction.flush()
                commit(connection)

    def commit_quick(self, changes: Sequence[QuickChange]) -> Sequence[bool]:
        """Make quick changes in one round trip."""
        with self._connected() as connection:
            return postgres_quick.run(connection, changes)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Run the block with the connection, which is closed if that fails."""
        try:
            yield self._connect()
        except psycopg.DataError:
            self.close()  # the row's fault, not the database's
            raise
        except psycopg.Error as error:
            if self._connection is not None:
                self._server.lost(self._connection)
            self.close()
            raise self._server.unavailable(error) from None
        except BaseException:
            self.close()
            raise

    @property
    def longest(self) -> float:
        """After how many seconds a transaction has been stuck, in whatever it waits for."""
        return self._server.longest

    def interrupt(self) -> None:
        """Shut the socket down, so that a transaction that is stuck ends; called from another thread."""
        if (connection := self._connection) is not None:
            connection.shut_down()

    def stuck(self, seconds: float) -> LedgerUnavailable:
        """Return what to raise while a transaction is stuck."""
        return of_postgres(f"no answer within {seconds:.0f} s", None)

    def close(self) -> None:
        """Close the connection, which rolls back what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._server.connect()
            try:
                with self._connection.transaction():
                    self._server.find_place(self._connection)
                    migrate(self._connection, self._migrations)
                    self._connection.reads_timeline = readable(self._connection)
            except psycopg.DataError as error:  # LEDGER_URL's fault, such as an unknown role
                raise self._server.unavailable(error) from None
        return self._connection


class PostgresLedger(StoredLedger):
    """The ledger in PostgreSQL."""

    def __init__(
        self,
        url: str,
        lease_seconds: float = 20.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        notify: OnLedgerCommit = noop,
    ) -> None:
        store = GroupStore(PostgresBackend(url), "ledger-postgres", notify)
        super().__init__(store, lease_seconds=lease_seconds, monotonic=monotonic)
