"""The slots of backups in progress in PostgreSQL: the part of a transaction that is about them."""

from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.ledger.postgres_waiting import columns
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary, changed_rows, held_groups, load_rows
from handler.ledger.row import Slot

Connection = psycopg.Connection[TupleRow]

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE snapshot_backup_slot (
        project_id text NOT NULL,
        snapshot_id text NOT NULL,
        group_name text NOT NULL,
        since double precision NOT NULL,
        until double precision NOT NULL,
        PRIMARY KEY (project_id, snapshot_id, group_name)
    )
    """,
    "CREATE INDEX snapshot_backup_slot_by_group ON snapshot_backup_slot (group_name, project_id, until)",
    """
    CREATE TABLE snapshot_backup_queue (
        group_name text NOT NULL,
        project_id text NOT NULL,
        until double precision NOT NULL,
        numbers text NOT NULL,
        PRIMARY KEY (group_name, project_id)
    )
    """,
)

_LOCK_NUMBER = 0x5B_510752
_LOCK = "SELECT pg_advisory_xact_lock(%s)"
_COUNT = """
SELECT group_name, project_id, count(*) FROM snapshot_backup_slot
WHERE group_name = ANY(%s) AND until > extract(epoch FROM clock_timestamp()) GROUP BY group_name, project_id
"""
_QUEUES = """
SELECT group_name, project_id, numbers FROM snapshot_backup_queue
WHERE group_name = ANY(%s) AND until > extract(epoch FROM clock_timestamp())
"""
_SAVE_QUEUES = """
INSERT INTO snapshot_backup_queue
SELECT * FROM unnest(%s::text[], %s::text[], %s::double precision[], %s::text[])
ON CONFLICT (group_name, project_id) DO UPDATE SET until = excluded.until, numbers = excluded.numbers
"""
_FREE = """
DELETE FROM snapshot_backup_slot
WHERE (project_id, snapshot_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""
_TAKE = """
INSERT INTO snapshot_backup_slot
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::double precision[], %s::double precision[])
"""
_RUNNING = """
SELECT group_name, count(*), count(*) FILTER (WHERE since <= %s) FROM snapshot_backup_slot
WHERE until > %s GROUP BY group_name
"""
_WAITING = "SELECT count(*) FROM snapshot_backup_waiting WHERE reason = 'room'"
_FORGET_SLOTS = "DELETE FROM snapshot_backup_slot WHERE until <= %s"
_FORGET_QUEUES = "DELETE FROM snapshot_backup_queue WHERE until <= %s"


class StoredSlots:
    """The slots of some groups, as they are read in a pipeline; ``fetch`` loads them after it."""

    def __init__(self, connection: Connection, groups: Sequence[str]) -> None:
        # One lock for all groups: of two transactions that count at once, the second would not see what the
        # first one takes. Rows are locked before it in all transactions, so that none wait in a circle.
        connection.execute(_LOCK, (_LOCK_NUMBER,))
        self._groups = groups
        self._counts = connection.execute(_COUNT, (list(groups),))
        self._queues = connection.execute(_QUEUES, (list(groups),))

    def fetch(self) -> Slots:
        """Return the slots."""
        counts, queues, slots = self._counts.fetchall(), self._queues.fetchall(), Slots()
        for group in self._groups:
            load_rows(
                slots,
                group,
                {project: count for name, project, count in counts if name == group},
                [(project, numbers) for name, project, numbers in queues if name == group],
            )
        return slots


class PostgresSlots:
    """The slots in a transaction; what has changed is written together by ``flush``."""

    def __init__(self, connection: Connection, now: float, slots: Slots) -> None:
        self._connection = connection
        self._now = now
        self.slots = slots
        self._moved: dict[Key, Slot | None] = {}

    def move(self, key: Key, before: Slot | None, after: Slot | None) -> None:
        """Keep a row's slot for ``flush``."""
        self.slots.move(key.project_id, held_groups(before, self._now), -1)
        self.slots.move(key.project_id, held_groups(after, self._now), 1)
        self._moved[key] = after

    def flush(self) -> None:
        """Write slots and queues."""
        if self._moved:
            self._connection.execute(_FREE, columns(list(self._moved)))
        taken = [
            (*key, group, slot.since, slot.until)
            for key, slot in self._moved.items()
            if slot is not None
            for group in slot.groups
        ]
        if taken:
            self._connection.execute(_TAKE, columns(taken))
        if rows := changed_rows(self.slots):
            self._connection.execute(_SAVE_QUEUES, columns(rows))

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        found = self._connection.execute(_RUNNING, (self._now - LONG_SECONDS, self._now)).fetchall()
        waiting = self._connection.execute(_WAITING).fetchall()[0][0]
        return RunningSummary({group: Running(count, long) for group, count, long in found}, waiting)

    def forget_old(self) -> None:
        """Delete the slots that have ended by themselves, and what is of no use of the queues."""
        self._connection.execute(_FORGET_SLOTS, (self._now,))
        self._connection.execute(_FORGET_QUEUES, (self._now,))
