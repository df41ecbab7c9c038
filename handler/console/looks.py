"""Looks at the dead letters: one at a time, each kept for a while, since it reads the whole queue.

A look is a reading of ``handler.dead_letters``: nothing is removed, and what was read is put back in order.
If another operator's command holds the lock, the look is not made: a page does not wait for minutes.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from handler import bootstrap
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.filters import Filters
from handler.dead_letters.groups import Group, Groups
from handler.dead_letters.queue_session import QueueSession, selected
from handler.dead_letters.remedies import remedy
from handler.errors import BrokerError
from handler.settings import Settings

FRESH_SECONDS = 10.0
"""For so long a look is used again."""
SHOWN = 200
"""How many dead letters a look keeps; it counts all."""

_KEPT = 8
_LONGEST_TEXT = 2_000


class Busy(BrokerError):
    """Another command reads the dead letters now."""

    def __init__(self) -> None:
        super().__init__("another command reads the dead letters now; try again when it has ended")


class Look(NamedTuple):
    """What a look has seen: all groups, the first dead letters as JSON values, and when."""

    groups: Sequence[Group]
    total: int
    dead_letters: Sequence[dict[str, Any]]
    as_of: float


class Looks:
    """Looks at ``Q.dead``, and keeps what was seen."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._looking = asyncio.Lock()
        self._kept: OrderedDict[tuple[Filters, int | None], Look] = OrderedDict()

    async def look(
        self, filters: Filters, *, limit: int | None = None, at_most_old: float = FRESH_SECONDS
    ) -> Look:
        """Return a look that is fresh enough. Raises ``Busy``, or another ``BrokerError``."""
        async with self._looking:
            key = (filters, limit)
            known = self._kept.get(key)
            if known is None or self._clock() - known.as_of > at_most_old:
                known = await self._read(filters, limit)
                self._kept[key] = known
                self._kept.move_to_end(key)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return known

    def latest(self) -> Look | None:
        """Return the latest look at all dead letters, however old it is."""
        return self._kept.get((Filters(), None))

    def forget(self) -> None:
        """Forget all looks, since an act has changed what they show."""
        self._kept.clear()

    async def find(self, id_: str) -> DeadLetter | None:
        """Return one dead letter. Raises ``Busy``, or another ``BrokerError``."""
        async with self._looking, await bootstrap.open_connection(self._settings) as connection:
            session = QueueSession(connection, bootstrap.topology(self._settings), _refuse_to_wait)
            async with session.open() as found:
                async for held in selected(found, Filters(ids=frozenset({id_})), limit=1):
                    return held.dead_letter
        return None

    async def _read(self, filters: Filters, limit: int | None) -> Look:
        groups, shown = Groups(), list[dict[str, Any]]()
        async with await bootstrap.open_connection(self._settings) as connection:
            session = QueueSession(connection, bootstrap.topology(self._settings), _refuse_to_wait)
            async with session.open() as found:
                async for held in selected(found, filters, limit=limit):
                    groups.add(held.dead_letter)
                    if len(shown) < SHOWN:
                        shown.append(facts(held.dead_letter))
        return Look(list(groups), groups.total, shown, self._clock())


def facts(dead_letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter as JSON values, with its remedy and a reason of a bounded length."""
    found = dead_letter.facts()
    found["reason"] = dead_letter.reason[:_LONGEST_TEXT]
    return {**found, "remedy": remedy(dead_letter.category, dead_letter.code)}


def group_document(group: Group) -> dict[str, Any]:
    """Return a group as JSON values, with its remedy."""
    return {
        "category": group.category,
        "code": group.code,
        "count": group.count,
        "oldest": group.oldest.isoformat() if group.oldest else None,
        "newest": group.newest.isoformat() if group.newest else None,
        "remedy": remedy(group.category, group.code),
    }


def _refuse_to_wait() -> None:
    raise Busy
