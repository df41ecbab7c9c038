"""``AuditRows``: the part of a transaction that is about the audit journal, for SQLite and PostgreSQL."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from handler.ledger.audit import MOST_ACTS, Act
from handler.ledger.control_rows import Cursor


class AuditStatements(NamedTuple):
    """The statements. In these texts ``T_`` stands for a table's prefix, ``:name`` for a parameter."""

    save: str = """
    INSERT INTO T_act VALUES (:id, :queue, :at, :ended, :who, :what, :about, :number, :outcome)
    ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, number = excluded.number,
        outcome = excluded.outcome
    """
    acts: str = """
    SELECT id, who, what, about, at, ended, number, outcome FROM T_act WHERE queue = :queue
    ORDER BY at DESC, id LIMIT :limit
    """
    forget: str = "DELETE FROM T_act WHERE at <= :before"
    # Nothing is deleted where there are fewer: the comparison with no row is not true.
    forget_more: str = """
    DELETE FROM T_act WHERE queue = :queue
        AND at <= (SELECT at FROM T_act WHERE queue = :queue ORDER BY at DESC LIMIT 1 OFFSET :most)
    """

    def written(self, write: Callable[[str], str]) -> "AuditStatements":
        """Return the statements as a database wants them."""
        return AuditStatements(*map(write, self))


class AuditRows(ABC):
    """The acts of operators; ``now`` is the time."""

    now: float
    _audit: AuditStatements

    @abstractmethod
    def _run(self, statement: str, values: Mapping[str, Any]) -> Cursor:
        """Run a statement with named parameters."""

    def save_act(self, queue: str, act: Act) -> None:
        """Write a new act, or the end of one."""
        ended = None if act.outcome is None else self.now
        self._run(self._audit.save, {**act._asdict(), "queue": queue, "at": self.now, "ended": ended})
        self._run(self._audit.forget_more, {"queue": queue, "most": MOST_ACTS})

    def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue, the latest first."""
        found = self._run(self._audit.acts, {"queue": queue, "limit": limit}).fetchall()
        return [Act(*each) for each in found]

    def forget_acts(self, before: float) -> None:
        """Forget acts that began before."""
        self._run(self._audit.forget, {"before": before})
