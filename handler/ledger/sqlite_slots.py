"""The slots of backups in progress in a SQLite ledger: the part of a transaction that is about them."""

import sqlite3
from collections.abc import Sequence

from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary, changed_rows, held_groups, load_rows
from handler.ledger.row import Slot

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE ledger_slot (
        project_id TEXT NOT NULL,
        snapshot_id TEXT NOT NULL,
        group_name TEXT NOT NULL,
        since REAL NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (project_id, snapshot_id, group_name)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ledger_slot_by_group ON ledger_slot (group_name, project_id, until)",
    """
    CREATE TABLE ledger_queue (
        group_name TEXT NOT NULL,
        project_id TEXT NOT NULL,
        until REAL NOT NULL,
        numbers TEXT NOT NULL,
        PRIMARY KEY (group_name, project_id)
    ) WITHOUT ROWID
    """,
)

_COUNT = """
SELECT project_id, count(*) FROM ledger_slot WHERE group_name = ? AND until > ? GROUP BY project_id
"""
_QUEUES = "SELECT project_id, numbers FROM ledger_queue WHERE group_name = ? AND until > ?"
_SAVE_QUEUE = """
INSERT INTO ledger_queue VALUES (?, ?, ?, ?)
ON CONFLICT (group_name, project_id) DO UPDATE SET until = excluded.until, numbers = excluded.numbers
"""
_FREE = "DELETE FROM ledger_slot WHERE project_id = ? AND snapshot_id = ?"
_TAKE = "INSERT INTO ledger_slot VALUES (?, ?, ?, ?, ?)"
_RUNNING = """
SELECT group_name, count(*), total(since <= ?) FROM ledger_slot WHERE until > ? GROUP BY group_name
"""
_WAITING = "SELECT count(*) FROM ledger_waiting WHERE reason = 'room'"
_FORGET_SLOTS = "DELETE FROM ledger_slot WHERE until <= ?"
_FORGET_QUEUES = "DELETE FROM ledger_queue WHERE until <= ?"


class SqliteSlots:
    """The slots on a connection that holds the write lock; ``now`` is the time."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._slots = Slots()

    def load(self, groups: Sequence[str]) -> Slots:
        """Return the slots, with these groups loaded."""
        for group in groups:
            if group not in self._slots.counts:
                counts = dict(self._connection.execute(_COUNT, (group, self._now)).fetchall())
                load_rows(self._slots, group, counts, self._connection.execute(_QUEUES, (group, self._now)))
        return self._slots

    def move(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Write a row's slot where it has changed."""
        self._slots.move(key.project_id, held_groups(before, self._now), -1)
        self._slots.move(key.project_id, held_groups(after, self._now), 1)
        if before is not None:
            self._connection.execute(_FREE, (key.project_id, key.snapshot_id))
        if after is not None:
            rows = [(*key, group, after.since, after.until) for group in after.groups]
            self._connection.executemany(_TAKE, rows)

    def flush(self) -> None:
        """Write what has changed of the queues."""
        if rows := changed_rows(self._slots):
            self._connection.executemany(_SAVE_QUEUE, rows)

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        found = self._connection.execute(_RUNNING, (self._now - LONG_SECONDS, self._now)).fetchall()
        [waiting] = self._connection.execute(_WAITING).fetchone()
        return RunningSummary({group: Running(count, int(long)) for group, count, long in found}, waiting)

    def forget_old(self) -> None:
        """Delete the slots that have ended by themselves, and what is of no use of the queues."""
        self._connection.execute(_FORGET_SLOTS, (self._now,))
        self._connection.execute(_FORGET_QUEUES, (self._now,))
