"""``ControlRows``: the part of a transaction that is about control, the same for SQLite and PostgreSQL.

The two differ in the names of their tables and in how parameters are written.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from handler.ledger.control import REPLACED_SECONDS, SOON_SECONDS, Entry, Taken, WaitingChoice


class Statements(NamedTuple):
    """The statements. In these texts ``T_`` stands for a table's prefix, ``:name`` for a parameter."""

    entries: str = """
    SELECT what, since, number, reason FROM T_control WHERE queue = :queue
    UNION ALL SELECT 'replaced', max(due_at), NULL, '' FROM T_replaced
    """
    save: str = """
    INSERT INTO T_control VALUES (:queue, :what, :since, :number, :reason)
    ON CONFLICT (queue, what) DO UPDATE SET since = excluded.since, number = excluded.number,
        reason = excluded.reason
    """
    delete: str = "DELETE FROM T_control WHERE queue = :queue AND what = :what"
    choose: str = """
    SELECT id, body, waits, due_at, project_id, snapshot_id FROM T_waiting
    WHERE recorded_at <= :recorded_by AND (due_at > :after OR :also_due)
        AND (CAST(:project AS text) IS NULL OR project_id = :project)
        AND (CAST(:reason AS text) IS NULL OR reason = :reason)
        AND (CAST(:snapshot AS text) IS NULL OR snapshot_id = :snapshot)
    ORDER BY due_at LIMIT :limit
    """
    # One statement with a condition: a worker that delays the message at the same time is not overtaken.
    bring_back: str = """
    UPDATE T_waiting SET body = :body, waits = waits + 1, recorded_at = :now, due_at = :now, sweep_at = :now,
        swept = 0
    WHERE id = :id AND waits = :waits AND due_at > :now
    """
    end: str = "DELETE FROM T_waiting WHERE id = :id AND waits = :waits"
    replace: str = """
    INSERT INTO T_replaced VALUES (:id, :waits, :due_at)
    ON CONFLICT (id, waits) DO UPDATE SET due_at = excluded.due_at
    """
    is_replaced: str = "SELECT 1 FROM T_replaced WHERE id = :id AND waits = :waits"
    forget: str = "DELETE FROM T_replaced WHERE due_at <= :before"

    def written(self, write: Callable[[str], str]) -> "Statements":
        """Return the statements as a database wants them."""
        return Statements(*map(write, self))


class Cursor(Protocol):
    """What both drivers return of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement has changed."""

    def fetchall(self) -> Sequence[Any]:
        """Return all rows."""


class ControlRows(ABC):
    """The entries of operators, and the messages that they bring back or end; ``now`` is the time."""

    now: float
    _statements: Statements

    @abstractmethod
    def _run(self, statement: str, values: Mapping[str, object]) -> Cursor:
        """Run a statement with named parameters."""

    def entries(self, queue: str) -> Sequence[Entry]:
        """Read the entries of a queue."""
        return [Entry(*each) for each in self._run(self._statements.entries, {"queue": queue}).fetchall()]

    def save_entry(self, queue: str, entry: Entry) -> None:
        """Write an entry of a queue."""
        self._run(self._statements.save, {"queue": queue, **entry._asdict()})

    def delete_entry(self, queue: str, what: str) -> bool:
        """Delete an entry of a queue; return whether there was one."""
        return self._run(self._statements.delete, {"queue": queue, "what": what}).rowcount > 0

    def choose(self, choice: WaitingChoice) -> Sequence[Taken]:
        """Read messages that wait, with their bodies."""
        found = self._run(
            self._statements.choose, {**choice._asdict(), "after": self.now + SOON_SECONDS}
        ).fetchall()
        return [Taken(*each) for each in found]

    def bring_back(self, taken: Taken, body: bytes) -> bool:
        """Record a message as due now, with one wait more; False where it does not wait as it did."""
        values = {"id": taken.id, "waits": taken.waits, "body": body, "now": self.now}
        if not self._run(self._statements.bring_back, values).rowcount:
            return False
        self._replace(taken)
        return True

    def end(self, taken: Taken) -> None:
        """Delete the record of a message that has ended, and remember its copy at the broker."""
        self._run(self._statements.end, {"id": taken.id, "waits": taken.waits})
        self._replace(taken)

    def _replace(self, taken: Taken) -> None:
        values = {"id": taken.id, "waits": taken.waits, "due_at": max(taken.due_at, self.now)}
        self._run(self._statements.replace, values)

    def is_replaced(self, waiting_id: str, waits: int) -> bool:
        """Return whether the copy of a message that has waited so often is replaced."""
        return bool(self._run(self._statements.is_replaced, {"id": waiting_id, "waits": waits}).fetchall())

    def forget_replaced(self) -> None:
        """Forget copies that were due long ago."""
        self._run(self._statements.forget, {"before": self.now - REPLACED_SECONDS})
