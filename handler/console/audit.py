"""The audit journal of operators: who did what, to how many, when, and with what outcome.

It is kept in the ledger, so that all consoles and commands of a queue share it. Where the ledger cannot be
written, an act is kept in this process, which says so: an operator who acts at night is not held up by it.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from handler.console.times import iso
from handler.errors import LedgerUnavailable, SnapshotBackupError
from handler.ledger.audit import Act
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryLedger
from handler.printable import printable
from handler.redaction import redacted

log = logging.getLogger(__name__)

_LONGEST_TEXT = 500
BUG = "an error within the program; its log says more"


@dataclass
class Done:
    """What an act has done so far: to how many, and its outcome in a few words."""

    number: int | None = None
    outcome: str = "done"


class Acts(NamedTuple):
    """Acts, the latest first, and why some of them are known to this process only."""

    acts: Sequence[Act]
    problem: str | None


class Audit:
    """Writes and reads the audit journal of one queue. ``ledger`` opens it, or raises LedgerUnavailable."""

    def __init__(self, ledger: Callable[[], StoredLedger], queue: str) -> None:
        self._ledger = ledger
        self._queue = queue
        self._memory = MemoryLedger()
        self.problem: str | None = None
        """Why the latest act that could not be written was not."""

    @asynccontextmanager
    async def act(self, who: str, what: str, about: str, *, id_: str | None = None) -> AsyncIterator[Done]:
        """Record that an act begins, and, when the block ends, its outcome or what made it fail."""
        act = Act(id_ or secrets.token_hex(6), _short(who), what, _short(about))
        await self._save(act)
        done = Done()
        try:
            yield done
        except SnapshotBackupError as error:
            done.outcome = redacted(str(error))
            raise
        except (asyncio.CancelledError, KeyboardInterrupt):
            done.outcome = "broken off"
            raise
        except BaseException:
            done.outcome = BUG
            raise
        finally:
            await self._save(act._replace(number=done.number, outcome=_short(done.outcome)))

    async def acts(self, limit: int) -> Acts:
        """Return the latest acts."""
        found = {act.id: act for act in await self._memory.acts(self._queue, limit)}
        problem = self.problem
        try:
            for act in await self._ledger().acts(self._queue, limit):
                if act.id not in found or found[act.id].outcome is None:
                    found[act.id] = act
        except LedgerUnavailable as error:
            problem = str(error)
        return Acts(sorted(found.values(), key=lambda act: -act.at)[:limit], problem)

    async def _save(self, act: Act) -> None:
        _log(act)
        try:
            await self._ledger().save_act(self._queue, act)
        except LedgerUnavailable as error:
            self.problem = str(error)
            await self._memory.save_act(self._queue, act)


def document(act: Act) -> dict[str, Any]:
    """Return an act as JSON values; times in ISO 8601."""
    return {**act._asdict(), "at": iso(act.at), "ended": iso(act.ended)}


def _short(text: str) -> str:
    return printable(text)[:_LONGEST_TEXT]


def _log(act: Act) -> None:
    log.info(
        "%s: %s (%s): %s",
        act.who,
        act.what,
        act.about,
        act.outcome or "began",
        extra={"action": "console.act", "act": act.id, "number": act.number},
    )
