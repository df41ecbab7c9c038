"""A prune deletes in steps that claims do not feel.

Danger: a step that takes as long as there are old rows, in which no claim can be made.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from events.outcome import CompletedBackup
from handler.backup.ports import Finished, Key
from handler.ledger import sqlite, sqlite_pruning, sqlite_waiting
from handler.ledger.pruning import MOST_ROWS, MOST_SECONDS, Steps, rest
from handler.ledger.sqlite import SqliteLedger

DONE = Finished(CompletedBackup(id="b1", status="available"))


def test_a_fast_disk_gets_steps_of_the_most_rows() -> None:
    """Steps grow to the bound, and no further."""
    steps = Steps()
    for _ in range(10):
        steps.took(0.001)
    assert MOST_ROWS == steps.rows


@pytest.mark.parametrize("seconds_for_a_row", [0.0001, 0.001, 0.015])
def test_steps_keep_to_their_time(seconds_for_a_row: float) -> None:
    """After a few steps, a step takes no longer than its bound."""
    steps = Steps()
    for _ in range(10):
        steps.took(steps.rows * seconds_for_a_row)
    assert MOST_SECONDS >= steps.rows * seconds_for_a_row


def test_a_step_deletes_one_row_at_least() -> None:
    """A disk on which a single row takes a second ends its prune nevertheless."""
    steps = Steps()
    for _ in range(3):
        steps.took(1.0)
    assert 1 == steps.rows


def test_a_rest_is_as_long_as_its_step_within_a_second() -> None:
    """The ledger is left to others for as long as a step took, at most for a second."""
    assert [0.015, 1.0] == [rest(0.015), rest(8.0)]


@pytest.mark.anyio
async def test_no_step_deletes_more_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,200 rows are deleted in several transactions, each of which leaves a tombstone for each row."""
    counts: list[int] = []
    delete = sqlite.SqliteTransaction.delete

    def counted(*arguments: object, **options: object) -> int:
        counts.append(delete(*arguments, **options))  # type: ignore[arg-type]
        return counts[-1]

    monkeypatch.setattr(sqlite.SqliteTransaction, "delete", counted)
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    await ledger.finished(Key("p", "s"), DONE, backup_id="b1", cause="event")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1199) "
            "INSERT INTO ledger SELECT project_id, n, state, token, lease_until, updated_at, settled, rest, "
            "journal FROM ledger, numbers"
        )
    assert 1200 == await ledger.prune(0)
    await ledger.aclose()
    assert 1200 == sum(counts)
    assert max(counts) <= MOST_ROWS
    with closing(sqlite3.connect(path)) as connection:
        assert [(1200,)] == connection.execute("SELECT count(*) FROM ledger_tombstone").fetchall()


@pytest.mark.parametrize(
    ("statement", "values", "indexes"),
    [
        (sqlite_pruning._FIND_OLD, (0, 0, 1), ["ledger_by_standing"] * 2),
        (
            sqlite_waiting._FORGET_OLD,
            {"before": 0, "limit": 1},
            ["ledger_waiting_by_sweep", "ledger_waiting_swept"],
        ),
    ],
)
def test_what_is_old_is_found_by_an_index(
    tmp_path: Path, statement: str, values: Any, indexes: Sequence[str]
) -> None:
    """A step searches ranges of indexes, and reads neither the whole ledger nor all waiting messages."""
    backend = sqlite.SqliteBackend(tmp_path / "ledger.db", lambda: 0.0)
    with backend.transaction([]) as transaction:
        plan = transaction._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    backend.close()
    steps = [detail for *_, detail in plan]
    ranges = [each for each in steps if "_at<?" in each]
    assert [] == [each for each in steps if each.startswith("SCAN ledger")]
    assert len(indexes) == len(ranges)
    assert all(index in each for index, each in zip(indexes, ranges, strict=True)), steps
