"""``WorkerRows``: the part of a transaction that is about workers' reports, for SQLite and PostgreSQL.

Each worker has one row, which it writes anew every few seconds and deletes when it stops orderly.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from handler.backup.workers import SILENT_SECONDS, WorkerRecord, WorkerReport, Workers
from handler.ledger.control_rows import Cursor

KEPT_SECONDS = 86_400.0
"""The row of a worker that did not stop orderly is kept for so long after its latest report."""

_MOST = 1000
"""Most workers that are read. More than one a minute would have to end without an orderly stop in a day."""

_COLUMNS = """
        id {text} PRIMARY KEY,
        queue {text} NOT NULL,
        host {text} NOT NULL,
        pid {integer} NOT NULL,
        version {text} NOT NULL,
        started_at {real} NOT NULL,
        seen_at {real} NOT NULL,
        state {text} NOT NULL,
        in_hand {integer} NOT NULL,
        concurrency {integer} NOT NULL
"""
_SQLITE = _COLUMNS.format(text="TEXT", integer="INTEGER", real="REAL")
_POSTGRES = _COLUMNS.format(text="text", integer="bigint", real="double precision")
SQLITE: Sequence[str] = (f"CREATE TABLE ledger_worker ({_SQLITE}) WITHOUT ROWID",)
# There is room in each page, so that a row that is written every few seconds needs no new entry of the index.
POSTGRES: Sequence[str] = (f"CREATE TABLE snapshot_backup_worker ({_POSTGRES}) WITH (fillfactor = 50)",)
"""The migrations."""


class WorkerStatements(NamedTuple):
    """The statements. In these texts ``T_`` stands for a table's prefix, ``:name`` for a parameter."""

    report: str = """
    INSERT INTO T_worker VALUES (:id, :queue, :host, :pid, :version, :started_at, :now, :state, :in_hand,
        :concurrency)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, state = excluded.state,
        in_hand = excluded.in_hand, concurrency = excluded.concurrency
    """
    workers: str = """
    SELECT id, host, pid, version, started_at, seen_at, state, in_hand, concurrency FROM T_worker
    WHERE queue = :queue AND seen_at > :after ORDER BY seen_at DESC LIMIT :limit
    """
    other_queues: str = """
    SELECT DISTINCT queue FROM T_worker WHERE queue <> :queue AND seen_at > :after ORDER BY queue LIMIT 5
    """
    remove: str = "DELETE FROM T_worker WHERE id = :id"
    forget: str = "DELETE FROM T_worker WHERE seen_at <= :before"

    def written(self, write: Callable[[str], str]) -> "WorkerStatements":
        """Return the statements as a database wants them."""
        return WorkerStatements(*map(write, self))


class WorkerRows(ABC):
    """The reports of workers; ``now`` is the time."""

    now: float
    _worker_statements: WorkerStatements

    @abstractmethod
    def _run(self, statement: str, values: Mapping[str, Any]) -> Cursor:
        """Run a statement with named parameters."""

    def report(self, queue: str, report: WorkerReport) -> None:
        """Write a worker's row; it has run since its first report said."""
        values = {"queue": queue, "now": self.now, "started_at": self.now - report.uptime}
        self._run(self._worker_statements.report, {**report._asdict(), **values})

    def workers(self, queue: str) -> Workers:
        """Read the workers of a queue, by host and process."""
        values = {"queue": queue, "after": self.now - KEPT_SECONDS, "limit": _MOST}
        found = self._run(self._worker_statements.workers, values).fetchall()
        running = {"queue": queue, "after": self.now - SILENT_SECONDS}
        others = self._run(self._worker_statements.other_queues, running).fetchall()
        records = sorted((WorkerRecord(*each) for each in found), key=_place)
        return Workers(records, self.now, [name for (name,) in others])

    def remove_worker(self, worker_id: str) -> None:
        """Delete the row of a worker that stops."""
        self._run(self._worker_statements.remove, {"id": worker_id})

    def forget_workers(self) -> None:
        """Delete the rows of workers that ended long ago."""
        self._run(self._worker_statements.forget, {"before": self.now - KEPT_SECONDS})


def _place(worker: WorkerRecord) -> tuple[str, int, float]:
    return worker.host, worker.pid, worker.started_at
