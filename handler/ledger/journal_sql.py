"""The statements of the inquiries, as texts for both databases: tables have other names in each.

Parameters are named, ``:name``. A snapshot's standing is an expression over its row, and the first column of
an index, so that no program that writes rows need know of it.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

from events.outcome import Category
from handler.ledger.row import UNSETTLED

_SKIP = """'"failure":{"category":"refused","code":"skipped"'"""
_FAILURE = """'"failure":{"category":"'"""
_FAILED = "failed/"


class Dialect(NamedTuple):
    """What differs between the databases: names of tables, the way to write a parameter, and functions."""

    ledger: str
    waiting: str
    sums: str
    parameter: str
    find: str
    category: str
    """The category of the first failure in a text ``{rest}``."""
    hour: str
    """The hour since the epoch of a time ``{at}``."""

    def text(self, statement: str, **parts: str) -> str:
        """Return a statement in this dialect, with further parts in it."""
        return _text(self, statement, tuple(parts.items()))

    def group(self, by: str, at: str) -> str:
        """Return the expression that rows are grouped by; ``at`` is the column of their time."""
        return {"hour": self.hour.format(at=at), "project": "project_id", "category": "''"}[by]

    @property
    def standing(self) -> str:
        """The expression for ``Row.standing``, with the category of what failed after a slash.

        The texts that it looks for begin with a quote that JSON would escape within a value, so nothing that
        comes from outside can look like them. A row without a state is a placeholder.
        """
        failures = f"replace(rest, {_SKIP}, '')"
        return f"""(CASE WHEN state = 'completed' THEN 'completed' WHEN token IS NOT NULL THEN 'claimed'
WHEN state = '' THEN '' WHEN substr(rest, 1, 10) = '{{"doubt":{{' THEN 'in doubt'
WHEN state = 'made' THEN 'accepted'
WHEN {self.find}({failures}, {_FAILURE}) > 0 THEN '{_FAILED}' || {self.category.replace("{rest}", failures)}
WHEN {self.find}(rest, {_FAILURE}) > 0 THEN 'skipped' ELSE 'open' END)"""


@lru_cache
def _text(dialect: Dialect, statement: str, parts: tuple[tuple[str, str], ...]) -> str:
    names = ((word, getattr(dialect, word)) for word in ("ledger", "waiting", "sums", "standing"))
    for name, part in (*parts, *names):
        statement = statement.replace(f"{{{name}}}", part)
    return re.sub(r"(?<!:):([a-z_]+)", dialect.parameter, statement)


def _sqlite_category() -> str:
    start = f"instr({{rest}}, {_FAILURE}) + {len(_FAILURE) - 2}"
    longest = max(len(each.value) for each in Category) + 1
    found = f"substr({{rest}}, {start}, {longest})"
    return f"""substr({found}, 1, instr({found}, '"') - 1)"""


SQLITE: Final = Dialect(
    "ledger",
    "ledger_waiting",
    "ledger_sums",
    r":\1",
    "instr",
    _sqlite_category(),
    "CAST({at} / 3600 AS integer)",
)
POSTGRES: Final = Dialect(
    "snapshot_backup_ledger",
    "snapshot_backup_waiting",
    "snapshot_backup_sums",
    r"%(\1)s",
    "strpos",
    """substring({rest} from '"failure":[{]"category":"([a-z_]*)"')""",
    "floor({at} / 3600)::bigint",
)


def standings(state: str) -> list[str]:
    """Return the values of the expression for a state: one for each category of what failed."""
    return [f"{_FAILED}{each.value}" for each in Category] if state == "failed" else [state]


SETTLED: Final = ("", "completed", "skipped", "open", *standings("failed"))
"""The values of the rows that have ended."""


def quoted(values: tuple[str, ...]) -> str:
    """Return values that are our own as a list for ``IN``."""
    return "(" + ", ".join(f"'{each}'" for each in values) + ")"


IN_SETTLED: Final = "{standing} IN " + quoted(SETTLED)
IN_UNSETTLED: Final = "{standing} IN " + quoted(UNSETTLED)
# A range of the index for each, since their rows together would have to be sorted.
OLDEST_UNSETTLED: Final = " UNION ALL ".join(
    f"""SELECT * FROM (SELECT * FROM {{ledger}} WHERE {{standing}} = '{each}' AND updated_at <= :before
    ORDER BY updated_at LIMIT :limit) AS oldest"""  # noqa: S608 - made of constants
    for each in UNSETTLED
)

_PROJECTS = """
WITH RECURSIVE known (project) AS (
    SELECT min(project_id) FROM {table} UNION ALL
    SELECT (SELECT min(project_id) FROM {table} WHERE project_id > known.project) FROM known
    WHERE known.project IS NOT NULL)
"""
# The key begins with the project. Where none is named, each known project is asked for the snapshot: with 200
# projects that takes some milliseconds; a search of all rows took 0.7 s with a million of them.
_IN_EACH_PROJECT = "snapshot_id = :snapshot AND project_id IN (SELECT project FROM known) LIMIT :limit"
_IN_PROJECT = "snapshot_id = :snapshot AND project_id = :project LIMIT :limit"
_ROWS = """
SELECT journal, project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM {ledger} WHERE
"""
FIND: Final = f"{_PROJECTS} {_ROWS} {_IN_EACH_PROJECT}".replace("{table}", "{ledger}")
FIND_IN_PROJECT: Final = f"{_ROWS} {_IN_PROJECT}"

SEARCH: Final = """
SELECT project_id, snapshot_id, updated_at, {find}(rest, :exact) > 0 OR {find}(rest, :replay) > 0 AS found
FROM {ledger} WHERE {standing} = :standing AND updated_at <= :before ORDER BY updated_at DESC LIMIT :limit
"""
SEARCH_WAITING: Final = """
SELECT project_id, snapshot_id, id, {in_body} > 0 AS found FROM {waiting} WHERE id > :after
ORDER BY id LIMIT :limit
"""

FORGET_SUMS: Final = "DELETE FROM {sums} WHERE hour < :before"

_WINDOW = """
{standing} = :standing AND updated_at >= :since AND updated_at < :until
AND (CAST(:project AS text) IS NULL OR project_id = :project)
"""
_LIST = f"""
SELECT project_id, snapshot_id, state, token, lease_until, updated_at, rest FROM {{ledger}}
WHERE {_WINDOW} ORDER BY updated_at
"""  # noqa: S608 - the same
OLDEST_FIRST: Final = f"{_LIST} LIMIT :limit"
NEWEST_FIRST: Final = f"{_LIST} DESC LIMIT :limit"
COUNT: Final = "SELECT count(*), min(updated_at) FROM {ledger} WHERE {standing} = :standing"
COUNT_WAITING: Final = """
SELECT reason, count(*), min(due_at) FROM {waiting} GROUP BY reason ORDER BY reason
"""
SUMS: Final = """
SELECT {group}, what, sum(number) FROM {sums} WHERE hour >= :since AND hour < :until
GROUP BY {group}, what ORDER BY {group}, what
"""
SUMS_BY: Final = {"hour": "hour", "project": "project_id", "category": "reason"}

REPORT: Final = f"SELECT {{group}}, count(*) FROM {{ledger}} WHERE {_WINDOW} GROUP BY 1"  # noqa: S608 - the same
REPORT_WAITING: Final = """
SELECT {group}, count(DISTINCT snapshot_id) FROM {waiting} AS waiting
WHERE recorded_at >= :since AND recorded_at < :until
AND (CAST(:project AS text) IS NULL OR project_id = :project)
AND snapshot_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {ledger} AS known WHERE state <> ''
    AND known.project_id = waiting.project_id AND known.snapshot_id = waiting.snapshot_id)
GROUP BY 1
"""
