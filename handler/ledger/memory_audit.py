"""The audit journal in a ledger in memory."""

from collections.abc import Sequence

from handler.ledger.audit import MOST_ACTS, Act
from handler.ledger.memory_tables import Tables


class MemoryAudit:
    """The part of a transaction that is about the audit journal; ``now`` is the time."""

    now: float
    _tables: Tables

    def save_act(self, queue: str, act: Act) -> None:
        """Write a new act, or the end of one."""
        acts, found = self._tables.acts, self._tables.acts.get((queue, act.id))
        ended = None if act.outcome is None else self.now
        acts[queue, act.id] = act._replace(at=found.at if found else self.now, ended=ended)
        kept = [key for key in acts if key[0] == queue]
        if len(kept) > MOST_ACTS:
            del acts[kept[0]]

    def acts(self, queue: str, limit: int) -> Sequence[Act]:
        """Read the acts on a queue, the latest first."""
        found = [act for (name, _), act in self._tables.acts.items() if name == queue]
        return sorted(found, key=lambda act: -act.at)[:limit]

    def forget_acts(self, before: float) -> None:
        """Forget acts that began before."""
        self._tables.acts = {key: act for key, act in self._tables.acts.items() if act.at > before}
