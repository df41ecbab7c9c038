"""The timeline of PostgreSQL's log, by which the ledger notices that a replica was promoted.

A replica that is not synchronous lacks the last commits of its primary: the ledger may have lost what it had
decided. Each promotion begins a new timeline, and so does a restore to an earlier time. For an hour after it,
a snapshot that the ledger does not know counts as pruned: the API is asked before a request is sent.

The timeline is read with the clock, in one statement. What it was before is read once for each connection.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import psycopg
from psycopg.rows import TupleRow

CAUTION_SECONDS = 3600.0
"""How long after a promotion unknown snapshots are looked up. A repeated event comes within that time."""

MIGRATION: Sequence[str] = (
    """
    CREATE TABLE snapshot_backup_timeline (
        id integer PRIMARY KEY,
        timeline text NOT NULL,
        since double precision NOT NULL
    )
    """,
)

CURRENT = "CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
"""The current timeline; empty on a server that cannot be written."""

UNKNOWN = "''"
"""The same where these functions are missing or forbidden to this role, or the schema is an older one."""

_TRY = f"SELECT {CURRENT}, (SELECT count(*) FROM snapshot_backup_timeline)"  # noqa: S608 - made of constants
_LOAD = "SELECT timeline, since FROM snapshot_backup_timeline WHERE id = 1"
# Of two workers that notice the change at once, the second keeps the time of the first.
_SAVE = """
INSERT INTO snapshot_backup_timeline AS known VALUES (1, %(name)s, 0)
ON CONFLICT (id) DO UPDATE SET timeline = excluded.timeline,
    since = CASE WHEN known.timeline = excluded.timeline THEN known.since ELSE %(now)s END
RETURNING since
"""

_log = logging.getLogger(__name__)


class Timeline(NamedTuple):
    """A timeline, and since when the ledger has been on it; 0 where it has never been on another."""

    name: str = ""
    since: float = 0.0

    def is_new(self, now: float) -> bool:
        """Return whether commits may have been lost lately."""
        return now < self.since + CAUTION_SECONDS


def readable(connection: psycopg.Connection[TupleRow]) -> str:
    """Return the expression that reads the timeline on this server, within a transaction."""
    try:
        with connection.transaction():
            connection.execute(_TRY.encode())
    except (psycopg.ProgrammingError, psycopg.NotSupportedError):
        return UNKNOWN
    return CURRENT


def noticed(connection: psycopg.Connection[TupleRow], name: str, now: float) -> Timeline:
    """Return the timeline that a connection finds, and write it down where the ledger was on another one."""
    found = connection.execute(_LOAD).fetchone()
    if found is not None and found[0] == name:
        return Timeline(*found)
    [(since,)] = connection.execute(_SAVE, {"name": name, "now": now}).fetchall()
    if found is not None:
        _log.warning(
            "LEDGER_URL: PostgreSQL was promoted or restored (timeline %s after %s) and may have lost "
            "its last commits: for an hour, snapshots unknown to the ledger are looked up before a request",
            name,
            found[0],
            extra={"action": "ledger.promoted"},
        )
    return Timeline(name, since)
