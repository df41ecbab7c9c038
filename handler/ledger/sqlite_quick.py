"""The quick path in a SQLite ledger: see ``handler.ledger.quick``."""

import sqlite3
from collections.abc import Sequence

from handler.ledger.journal import MOST_CHARACTERS, Journal, backup_end
from handler.ledger.quick import (
    MADE_AT,
    NUMBER,
    FirstBackup,
    FirstClaim,
    FirstEnd,
    QuickChange,
    end_rest,
    made_rest,
    made_start,
)
from handler.ledger.tombstones import tombstone

_CLAIM = """
INSERT INTO ledger SELECT ?, ?, 'open', ?, ?, ?, 0, '{}', ''
WHERE NOT EXISTS (SELECT 1 FROM ledger_tombstone WHERE id = ?) ON CONFLICT DO NOTHING
"""
_CREATED = f"""
UPDATE ledger SET state = 'made', token = NULL, lease_until = 0, updated_at = ?, settled = 0, rest = ?,
    journal = substr(journal || ? || printf('%.3f', updated_at) || ?, -{MOST_CHARACTERS})
WHERE project_id = ? AND snapshot_id = ? AND token = ? AND state = 'open' AND rest = '{{}}'
"""  # noqa: S608 - made of constants
_COMPLETED = f"""
UPDATE ledger SET state = 'completed', updated_at = ?, settled = 1,
    rest = substr(rest, 1, length(rest) - 1) || ?, journal = substr(journal || ?, -{MOST_CHARACTERS})
WHERE project_id = ? AND snapshot_id = ? AND state = 'made' AND token IS NULL AND instr(rest, ?) = 1
    AND substr(rtrim(rest, '{NUMBER}'), -{len(MADE_AT)}) = '{MADE_AT}'
"""  # noqa: S608 - made of constants


def run(connection: sqlite3.Connection, journal: Journal, now: float, change: QuickChange) -> bool:
    """Make a quick change on a connection that holds the write lock; False: nothing was changed."""
    if isinstance(change, FirstClaim):
        return _is_made(connection, _CLAIM, _claimed(change, now))
    if isinstance(change, FirstBackup):
        made, what = _is_made(connection, _CREATED, _created(change, now)), "accepted"
    else:
        made, what = _is_made(connection, _COMPLETED, _completed(change, now)), "completed"
    if made:
        journal.count(change.key, what)
    return made


def _is_made(connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> bool:
    return connection.execute(statement, values).rowcount == 1


def _claimed(change: FirstClaim, now: float) -> Sequence[object]:
    return (*change.key, change.token, now + change.lease, now, tombstone(change.key))


def _created(change: FirstBackup, now: float) -> Sequence[object]:
    entry = f"{now:.3f}\taccepted\t", backup_end(change.backup.id)
    return (now, f"{made_rest(change)}{now!r}}}", *entry, *change.key, change.token)


def _completed(change: FirstEnd, now: float) -> Sequence[object]:
    entry = f"{now:.3f}\tcompleted\t{backup_end(change.backup_id)}"
    return (now, end_rest(change), entry, *change.key, made_start(change))
