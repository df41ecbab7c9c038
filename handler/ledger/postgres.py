"""The ledger in PostgreSQL, for workers on several machines. All times come from the database's clock.

The rows of a group are locked in the order of their keys, so that the groups of two workers cannot deadlock.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from handler.backup.hooks import OnLedgerCommit, noop
from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.errors import LedgerUnavailable
from handler.ledger import postgres_quick, tombstones, worker_rows
from handler.ledger.columns import from_columns, to_columns
from handler.ledger.group import GroupStore
from handler.ledger.inquiry import Known, SnapshotRecord, joined
from handler.ledger.journal import MOST_CHARACTERS
from handler.ledger.journal_sql import IN_SETTLED, IN_UNSETTLED, POSTGRES, SETTLED, quoted
from handler.ledger.ledger import StoredLedger, new_state_key
from handler.ledger.postgres_audit import MIGRATION as AUDIT
from handler.ledger.postgres_audit import PostgresAudit
from handler.ledger.postgres_connection import Connection, Server, apply_settings, begin, commit
from handler.ledger.postgres_control import MIGRATION as CONTROL
from handler.ledger.postgres_control import PostgresControl
from handler.ledger.postgres_journal import MIGRATION as JOURNAL
from handler.ledger.postgres_journal import PostgresJournal
from handler.ledger.postgres_slots import MIGRATION as SLOTS
from handler.ledger.postgres_slots import PostgresSlots, StoredSlots
from handler.ledger.postgres_timeline import MIGRATION as TIMELINE
from handler.ledger.postgres_timeline import noticed, readable
from handler.ledger.postgres_waiting import NO_MESSAGE, PostgresRecords, columns, load_copies
from handler.ledger.pruning import Cutoff, Prunable
from handler.ledger.quick import QuickChange
from handler.ledger.reasons import RUN_NEWER, of_postgres
from handler.ledger.room import RunningSummary
from handler.ledger.row import UNSETTLED, Row, Slot
from handler.ledger.tombstones import tombstone
from handler.ledger.waiting import Copy

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        """
        CREATE TABLE snapshot_backup_ledger (
            project_id text NOT NULL,
            snapshot_id text NOT NULL,
            state text NOT NULL,
            token text,
            lease_until double precision NOT NULL,
            updated_at double precision NOT NULL,
            settled integer NOT NULL,
            rest text NOT NULL,
            PRIMARY KEY (project_id, snapshot_id)
        )
        """,
        "CREATE INDEX snapshot_backup_ledger_by_age ON snapshot_backup_ledger (settled, updated_at)",
        "CREATE TABLE snapshot_backup_check (id integer PRIMARY KEY, checked_at double precision NOT NULL)",
    ),
    ("CREATE TABLE snapshot_backup_key (id integer PRIMARY KEY, state_key text NOT NULL)",),
    (
        """
        CREATE TABLE snapshot_backup_waiting (
            id text PRIMARY KEY,
            project_id text,
            snapshot_id text,
            reason text NOT NULL,
            waits integer NOT NULL,
            recorded_at double precision NOT NULL,
            due_at double precision NOT NULL,
            sweep_at double precision NOT NULL,
            swept integer NOT NULL,
            body bytea NOT NULL
        )
        """,
        "CREATE INDEX snapshot_backup_waiting_by_sweep ON snapshot_backup_waiting (sweep_at)",
        """
        CREATE INDEX snapshot_backup_waiting_by_snapshot
        ON snapshot_backup_waiting (project_id, snapshot_id)
        """,
        """
        CREATE TABLE snapshot_backup_sweep (
            id integer PRIMARY KEY,
            since double precision NOT NULL,
            owner text,
            held_until double precision NOT NULL
        )
        """,
        "INSERT INTO snapshot_backup_sweep VALUES (1, extract(epoch FROM clock_timestamp()), NULL, 0)",
    ),
    SLOTS,
    JOURNAL,
    tombstones.POSTGRES,
    CONTROL,
    worker_rows.POSTGRES,
    TIMELINE,
    AUDIT,
)
"""The statements that lead from each schema version to the next. Only add at the end."""

_MIGRATION_LOCK = 0x5B_1ED6E2

_PLACEHOLDER = ""
"""The state of a row that was inserted only to be locked."""

_INSERT = """
INSERT INTO snapshot_backup_ledger
SELECT p, s, '', NULL, 0, extract(epoch FROM clock_timestamp()), 1, '{}'
FROM unnest(%s::text[], %s::text[]) AS wanted (p, s) ORDER BY p, s
ON CONFLICT DO NOTHING
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::double precision, {timeline}"
_LOCK = """
SELECT project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM snapshot_backup_ledger
WHERE (project_id, snapshot_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
ORDER BY project_id, snapshot_id FOR UPDATE
"""
_LOAD = """
SELECT project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM snapshot_backup_ledger
WHERE project_id = %s AND snapshot_id = %s
"""
_ADDED = f"right(snapshot_backup_ledger.journal || excluded.journal, {MOST_CHARACTERS})"
_SAVE = f"""
INSERT INTO snapshot_backup_ledger SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[],
    %s::double precision[], %s::double precision[], %s::integer[], %s::text[], %s::text[])
ON CONFLICT (project_id, snapshot_id) DO UPDATE SET state = excluded.state, token = excluded.token,
    lease_until = excluded.lease_until, updated_at = excluded.updated_at, settled = excluded.settled,
    rest = excluded.rest, journal = {_ADDED}
"""  # noqa: S608 - made of constants
_SETTLED, _UNSETTLED = POSTGRES.text(IN_SETTLED), POSTGRES.text(IN_UNSETTLED)
_OLD = f"(({_SETTLED} AND updated_at <= %s) OR ({_UNSETTLED} AND updated_at <= %s)) AND {NO_MESSAGE}"
_COUNT = f"""
SELECT count(*), count(*) FILTER (WHERE settled = 0), min(updated_at), max(updated_at)
FROM snapshot_backup_ledger AS ledger WHERE {_OLD} AND state <> '{_PLACEHOLDER}'
"""  # noqa: S608 - made of constants
# One range of the index for each statement: with OR, or with a condition on the state, each step would read
# all old rows.
_DELETE = f"""
DELETE FROM snapshot_backup_ledger WHERE (project_id, snapshot_id) IN (
    SELECT project_id, snapshot_id FROM snapshot_backup_ledger AS ledger
    WHERE {{old}} AND updated_at <= %s AND {NO_MESSAGE} LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING project_id, snapshot_id
"""  # noqa: S608 - the same
_DELETE_PLACEHOLDERS, _DELETE_SETTLED, _DELETE_UNSETTLED = (
    POSTGRES.text(_DELETE, old=f"{{standing}} IN {quoted(values)}")
    for values in ((_PLACEHOLDER,), SETTLED[1:], UNSETTLED)
)
_ADD_TOMBSTONES = """
INSERT INTO snapshot_backup_tombstone SELECT * FROM unnest(%s::bigint[]) ON CONFLICT DO NOTHING
"""
_PRUNED = "SELECT id FROM snapshot_backup_tombstone WHERE id = ANY(%s)"
_TOUCH = """
INSERT INTO snapshot_backup_check VALUES (1, %s)
ON CONFLICT (id) DO UPDATE SET checked_at = excluded.checked_at
"""

_SAVE_KEY = "INSERT INTO snapshot_backup_key VALUES (1, %s) ON CONFLICT DO NOTHING"
_LOAD_KEY = "SELECT state_key FROM snapshot_backup_key WHERE id = 1"


class PostgresTransaction(PostgresRecords, PostgresControl, PostgresAudit):
    """A ``handler.ledger.backend.Transaction`` that writes its rows together at its end."""

    def __init__(
        self,
        connection: Connection,
        now: float,
        rows: dict[Key, Row | None],
        copies: dict[str, Copy],
        slots: Slots,
        pruned: set[Key],
    ) -> None:
        super().__init__(connection, now, copies)
        self._pruned = pruned
        self._may_lack_commits = connection.timeline.is_new(now)
        self._slots = PostgresSlots(connection, now, slots)
        self.journal = PostgresJournal(connection, now)
        self._rows = rows
        self._changed: dict[Key, tuple[Row, str]] = {}

    def load(self, key: Key) -> Row | None:
        """Read a row; it is locked where the transaction began with its key."""
        if key in self._rows:
            return self._rows[key]
        found = self._connection.execute(_LOAD, (key.project_id, key.snapshot_id)).fetchone()
        return None if found is None else _read(found)[1]

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
        """Delete what is too old of messages that wait, and of slots."""
        super().forget_old(before)
        self._slots.forget_old()
        self.forget_replaced()
        self.forget_workers()
        self.forget_acts(before)

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows, without placeholders."""
        total, without_end, oldest, youngest = self._connection.execute(_COUNT, before).fetchall()[0]
        return Prunable(total, without_end, oldest, youngest, self.now)

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete old rows, each of which leaves a tombstone, and old placeholders; count the rows only."""
        self._connection.execute(_DELETE_PLACEHOLDERS, (before.settled, limit))
        found = self._connection.execute(_DELETE_SETTLED, (before.settled, limit)).fetchall()
        if len(found) < limit:
            others = (before.unsettled, limit - len(found))
            found += self._connection.execute(_DELETE_UNSETTLED, others).fetchall()
        self._connection.execute(_ADD_TOMBSTONES, ([tombstone(Key(*key)) for key in found],))
        return len(found)

    def has_forgotten(self, key: Key) -> bool:
        """Return whether a key that the transaction began with has a tombstone, or commits may be lost."""
        return key in self._pruned or self._may_lack_commits

    def snapshots(self, snapshot_id: str, project_id: str | None) -> Sequence[SnapshotRecord]:
        """Read the rows and the recorded messages of a snapshot."""
        found = self.journal.find(snapshot_id, project_id)
        read = [(journal, *_read(tuple(rest))) for journal, *rest in found]
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
            rows = [(*key, *to_columns(row), journal) for key, (row, journal) in self._changed.items()]
            self._connection.execute(_SAVE, columns(rows))
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
            transaction = _begin(connection, keys, copies, groups)
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
                    _migrate(self._connection, self._migrations)
                    self._connection.reads_timeline = readable(self._connection)
            except psycopg.DataError as error:  # LEDGER_URL's fault, such as an unknown role
                raise self._server.unavailable(error) from None
        return self._connection


def _migrate(connection: Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Bring the schema up to date. A lock lets one of the workers that start together do it."""
    apply_settings(connection)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
    connection.execute("CREATE TABLE IF NOT EXISTS snapshot_backup_schema (version integer NOT NULL)")
    found = connection.execute("SELECT version FROM snapshot_backup_schema").fetchone()
    version = 0 if found is None else int(found[0])
    if version > len(migrations):
        raise LedgerUnavailable(
            f"the schema has version {version}, and this program knows {len(migrations)}",
            RUN_NEWER,
            place="LEDGER_URL",
        )
    for statement in (line for step in migrations[version:] for line in step):
        connection.execute(statement)
    if version < len(migrations):
        connection.execute("DELETE FROM snapshot_backup_schema")
        connection.execute("INSERT INTO snapshot_backup_schema VALUES (%s)", (len(migrations),))


def _begin(
    connection: Connection, keys: Sequence[Key], copies: Sequence[str], groups: Sequence[str]
) -> PostgresTransaction:
    rows: dict[Key, Row | None] = {}
    pruned: set[Key] = set()
    wanted = set(keys)
    while True:
        now, timeline, slots = _lock(connection, wanted - rows.keys(), rows, pruned, groups)
        # A prune can delete a row between insert and lock; then insert it again, to lock it.
        if wanted <= rows.keys():
            if timeline not in ("", connection.timeline.name):
                connection.timeline = noticed(connection, timeline, now)
            found = load_copies(connection, copies)
            return PostgresTransaction(connection, now, rows, found, slots, pruned)


def _lock(
    connection: Connection,
    keys: set[Key],
    rows: dict[Key, Row | None],
    pruned: set[Key],
    groups: Sequence[str],
) -> tuple[float, str, Slots]:
    """Lock the rows of ``keys``, new ones too, and the slots of ``groups``, in one round trip.

    Adds the rows, and the keys that have a tombstone. Returns the database's time after it, its timeline, and
    the slots.
    """
    columns = [[key.project_id for key in keys], [key.snapshot_id for key in keys]]
    ids = {tombstone(key): key for key in keys}
    first = connection.info.transaction_status is TransactionStatus.IDLE
    with connection.pipeline():
        if first:
            begin(connection)
        if keys:
            connection.execute(_INSERT, columns)
        locked = connection.execute(_LOCK, columns)
        # After the lock: a prune may have held the row until then.
        found = connection.execute(_PRUNED, (list(ids),)) if keys else ()
        stored = StoredSlots(connection, groups) if groups else None
        clock = connection.execute(_NOW.format(timeline=connection.reads_timeline).encode())
    rows.update(map(_read, locked))
    pruned.update(ids[number] for (number,) in found)
    [(now, timeline)] = clock.fetchall()
    return float(now), timeline, stored.fetch() if stored else Slots()


def _read(found: TupleRow) -> tuple[Key, Row | None]:
    project_id, snapshot_id, state, *rest = found
    return Key(project_id, snapshot_id), None if state == _PLACEHOLDER else from_columns(state, *rest)


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
