"""What a prune deletes in a SQLite ledger: the part of a transaction that is about old rows."""

import sqlite3

from handler.backup.ports import Key
from handler.ledger.journal_sql import IN_SETTLED, IN_UNSETTLED, SQLITE
from handler.ledger.pruning import Cutoff, Prunable
from handler.ledger.sqlite_waiting import NO_MESSAGE
from handler.ledger.tombstones import tombstone

_SETTLED, _UNSETTLED = SQLITE.text(IN_SETTLED), SQLITE.text(IN_UNSETTLED)
# A UNION of ranges of the index; with OR, SQLite would not use the index.
_OLD = f"""
    SELECT rowid, settled, updated_at, project_id, snapshot_id FROM ledger
    WHERE {_SETTLED} AND updated_at <= ? AND {NO_MESSAGE}
    UNION ALL
    SELECT rowid, settled, updated_at, project_id, snapshot_id FROM ledger
    WHERE {_UNSETTLED} AND updated_at <= ? AND {NO_MESSAGE}
"""  # noqa: S608 - made of constants
_COUNT = f"""
SELECT count(*), total(settled = 0), min(updated_at), max(updated_at) FROM ({_OLD})
"""  # noqa: S608 - made of constants
_FIND_OLD = f"SELECT rowid, project_id, snapshot_id FROM ({_OLD}) LIMIT ?"  # noqa: S608 - the same
_DELETE = "DELETE FROM ledger WHERE rowid = ?"
_ADD_TOMBSTONE = "INSERT OR IGNORE INTO ledger_tombstone VALUES (?)"


class SqliteOldRows:
    """The rows that a prune counts and deletes; the connection holds the write lock."""

    now: float
    _connection: sqlite3.Connection

    def count(self, before: Cutoff) -> Prunable:
        """Count old rows."""
        total, without_end, oldest, youngest = self._connection.execute(_COUNT, before).fetchone()
        return Prunable(total, int(without_end), oldest, youngest, self.now)

    def delete(self, before: Cutoff, *, limit: int) -> int:
        """Delete old rows, each of which leaves a tombstone."""
        found = self._connection.execute(_FIND_OLD, (*before, limit)).fetchall()
        self._connection.executemany(_ADD_TOMBSTONE, [(tombstone(Key(*key)),) for _, *key in found])
        self._connection.executemany(_DELETE, [(rowid,) for rowid, *_ in found])
        return len(found)
