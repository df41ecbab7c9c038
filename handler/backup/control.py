"""What operators have set for all workers of a queue: pauses, and the number of messages in hand. Pure.

It is kept in the ledger, so that it holds for all workers and functions that share it, and after a restart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Pause(NamedTuple):
    """A pause by an operator: since when, in seconds since the epoch, and the reason that they gave."""

    since: float
    reason: str = ""


class Control(NamedTuple):
    """The pause of the whole queue, those of single projects, and a ``CONCURRENCY`` for all workers.

    Until ``replaced_until``, copies of messages may come back that an operator has brought back or cancelled.
    """

    queue: Pause | None = None
    projects: Mapping[str, Pause] = MappingProxyType({})
    concurrency: int | None = None
    replaced_until: float = 0.0

    def paused(self, project_id: str) -> Pause | None:
        """Return the pause that a project's events wait for; None where they are handled."""
        return self.queue or self.projects.get(project_id)
