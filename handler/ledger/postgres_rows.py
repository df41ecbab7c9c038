"""The rows of a PostgreSQL ledger: how a transaction locks them at its begin, and reads and writes them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.ledger.columns import from_columns, to_columns
from handler.ledger.journal import MOST_CHARACTERS
from handler.ledger.postgres_connection import Connection, begin
from handler.ledger.postgres_slots import StoredSlots
from handler.ledger.postgres_timeline import noticed
from handler.ledger.postgres_waiting import columns, load_copies
from handler.ledger.row import Row
from handler.ledger.tombstones import tombstone
from handler.ledger.waiting import Copy

PLACEHOLDER = ""
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
_PRUNED = "SELECT id FROM snapshot_backup_tombstone WHERE id = ANY(%s)"


class Locked(NamedTuple):
    """What a transaction has read and locked at its begin. ``pruned`` has the keys with a tombstone."""

    now: float
    rows: dict[Key, Row | None]
    pruned: set[Key]
    slots: Slots
    copies: dict[str, Copy]


def lock(connection: Connection, keys: Sequence[Key], copies: Sequence[str], groups: Sequence[str]) -> Locked:
    """Begin a transaction: lock rows and the slots of groups, and read the records of waiting messages."""
    rows: dict[Key, Row | None] = {}
    pruned: set[Key] = set()
    wanted = set(keys)
    while True:
        now, timeline, slots = _lock(connection, wanted - rows.keys(), rows, pruned, groups)
        # A prune can delete a row between insert and lock; then insert it again, to lock it.
        if wanted <= rows.keys():
            if timeline not in ("", connection.timeline.name):
                connection.timeline = noticed(connection, timeline, now)
            return Locked(now, rows, pruned, slots, load_copies(connection, copies))


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
    key_columns = [[key.project_id for key in keys], [key.snapshot_id for key in keys]]
    ids = {tombstone(key): key for key in keys}
    first = connection.info.transaction_status is TransactionStatus.IDLE
    with connection.pipeline():
        if first:
            begin(connection)
        if keys:
            connection.execute(_INSERT, key_columns)
        locked = connection.execute(_LOCK, key_columns)
        # After the lock: a prune may have held the row until then.
        found = connection.execute(_PRUNED, (list(ids),)) if keys else ()
        stored = StoredSlots(connection, groups) if groups else None
        clock = connection.execute(_NOW.format(timeline=connection.reads_timeline).encode())
    rows.update(map(read, locked))
    pruned.update(ids[number] for (number,) in found)
    [(now, timeline)] = clock.fetchall()
    return float(now), timeline, stored.fetch() if stored else Slots()


def read(found: TupleRow) -> tuple[Key, Row | None]:
    """Return a row as it was found; None for a placeholder."""
    project_id, snapshot_id, state, *rest = found
    return Key(project_id, snapshot_id), None if state == PLACEHOLDER else from_columns(state, *rest)


def load(connection: psycopg.Connection[TupleRow], key: Key) -> Row | None:
    """Read a row, without a lock."""
    found = connection.execute(_LOAD, key).fetchone()
    return None if found is None else read(found)[1]


def save(connection: psycopg.Connection[TupleRow], changed: Mapping[Key, tuple[Row, str]]) -> None:
    """Write rows, and add to their journals, in one statement."""
    rows = [(*key, *to_columns(row), journal) for key, (row, journal) in changed.items()]
    connection.execute(_SAVE, columns(rows))
