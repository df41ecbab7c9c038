"""The quick path in PostgreSQL: see ``handler.ledger.quick``.

A group that has nothing but quick changes is a transaction of its own, in one round trip. It waits for other
transactions only where it inserts rows, in the order of their keys; rows that others have locked are left to
the rules. So it cannot deadlock.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from handler.ledger.journal import MOST_CHARACTERS, backup_end
from handler.ledger.postgres_connection import Connection, begin, commit
from handler.ledger.postgres_timeline import CAUTION_SECONDS
from handler.ledger.postgres_waiting import columns
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
INSERT INTO snapshot_backup_ledger
SELECT project, snapshot, 'open', token, now + lease, now, 0, '{}', ''
FROM unnest(%s::text[], %s::text[], %s::text[], %s::double precision[])
        AS wanted (project, snapshot, token, lease),
    (SELECT extract(epoch FROM clock_timestamp())::double precision AS now, READ_TIMELINE AS found) AS clock
WHERE found = %s AND now >= %s
ORDER BY project, snapshot ON CONFLICT DO NOTHING RETURNING token
"""
# After the insert: it may have waited until a prune that deleted the row had ended.
_UNDO = """
DELETE FROM snapshot_backup_ledger AS ledger
USING unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS wanted (id, project, snapshot, token)
JOIN snapshot_backup_tombstone AS tombstone ON tombstone.id = wanted.id
WHERE project_id = project AND snapshot_id = snapshot AND ledger.token = wanted.token RETURNING wanted.token
"""
_UPDATE = f"""
WITH clock AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp())::double precision AS now),
first AS (
    SELECT number, project_id, snapshot_id, start, entry
    FROM unnest(%s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
        AS wanted (number, project, snapshot, wanted_token, start, entry)
    JOIN snapshot_backup_ledger AS ledger ON project_id = project AND snapshot_id = snapshot
    WHERE token = wanted_token AND state = 'open' AND rest = '{{}}' FOR UPDATE OF ledger SKIP LOCKED),
last AS (
    SELECT number, project_id, snapshot_id, ending, entry
    FROM unnest(%s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
        AS wanted (number, project, snapshot, start, ending, entry)
    JOIN snapshot_backup_ledger AS ledger ON project_id = project AND snapshot_id = snapshot
    WHERE state = 'made' AND token IS NULL AND strpos(rest, start) = 1
        AND right(rtrim(rest, '{NUMBER}'), {len(MADE_AT)}) = '{MADE_AT}' FOR UPDATE OF ledger SKIP LOCKED),
made AS (
    UPDATE snapshot_backup_ledger AS ledger
    SET state = 'made', token = NULL, lease_until = 0, updated_at = now, settled = 0,
        rest = start || now || '}}', journal = right(journal || round(now::numeric, 3) || E'\\taccepted\\t'
            || round(updated_at::numeric, 3) || entry, {MOST_CHARACTERS})
    FROM first, clock
    WHERE ledger.project_id = first.project_id AND ledger.snapshot_id = first.snapshot_id
    RETURNING number, ledger.project_id),
completed AS (
    UPDATE snapshot_backup_ledger AS ledger
    SET state = 'completed', updated_at = now, settled = 1, rest = left(rest, -1) || ending,
        journal = right(journal || round(now::numeric, 3) || E'\\tcompleted\\t' || entry, {MOST_CHARACTERS})
    FROM last, clock
    WHERE ledger.project_id = last.project_id AND ledger.snapshot_id = last.snapshot_id
    RETURNING number, ledger.project_id),
counted AS (
    INSERT INTO snapshot_backup_sums
    SELECT floor(now / 3600)::bigint, project_id, what, '', pg_backend_pid() %% 16, count(*)
    FROM (SELECT project_id, 'accepted' FROM made UNION ALL SELECT project_id, 'completed' FROM completed)
        AS outcomes (project_id, what), clock
    GROUP BY now, project_id, what ORDER BY project_id, what
    ON CONFLICT (hour, project_id, what, reason, writer)
    DO UPDATE SET number = snapshot_backup_sums.number + excluded.number)
SELECT number FROM made UNION ALL SELECT number FROM completed
"""  # noqa: S608 - made of constants

_NONE: list[list[object]] = [[]] * 6


def run(connection: Connection, changes: Sequence[QuickChange]) -> Sequence[bool]:
    """Make quick changes, and commit; return which of them were made."""
    claims = [each for each in changes if isinstance(each, FirstClaim)]
    backups = [(n, each) for n, each in enumerate(changes) if isinstance(each, FirstBackup)]
    ends = [(n, each) for n, each in enumerate(changes) if isinstance(each, FirstEnd)]
    with connection.pipeline():
        begin(connection)
        connection.at_once = True
        claimed, undone = _claim(connection, claims) if claims else ((), ())
        updated = _update(connection, backups, ends) if backups or ends else ()
        commit(connection)
    tokens = {token for (token,) in claimed} - {token for (token,) in undone}
    numbers = {number for (number,) in updated}
    return [
        each.token in tokens if isinstance(each, FirstClaim) else number in numbers
        for number, each in enumerate(changes)
    ]


def _claim(connection: Connection, claims: Sequence[FirstClaim]) -> tuple[Iterable[Any], Iterable[Any]]:
    wanted = [(*each.key, each.token, each.lease) for each in claims]
    # After a promotion the rules decide: the ledger may have lost commits, and does not know what is unknown.
    timeline = connection.timeline
    claim = _CLAIM.replace("READ_TIMELINE", connection.reads_timeline).encode()
    inserted = connection.execute(claim, [*columns(wanted), timeline.name, timeline.since + CAUTION_SECONDS])
    known = [(tombstone(each.key), *each.key, each.token) for each in claims]
    return inserted, connection.execute(_UNDO, columns(known))


def _update(
    connection: Connection,
    backups: Sequence[tuple[int, FirstBackup]],
    ends: Sequence[tuple[int, FirstEnd]],
) -> Iterable[Any]:
    made = [(n, *each.key, each.token, made_rest(each), backup_end(each.backup.id)) for n, each in backups]
    ended = [(n, *each.key, made_start(each), end_rest(each), backup_end(each.backup_id)) for n, each in ends]
    return connection.execute(_UPDATE, [*(columns(made) or _NONE), *(columns(ended) or _NONE)])
