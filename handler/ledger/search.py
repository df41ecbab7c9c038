"""A search for an id that is no key of the ledger: of a backup, an event or a volume. Pure.

No index has these ids, since it would cost each event some pages more. A search reads what waits, then the
rows by where they stand, those without an end first and the latest first: some of each, then all. It reads
slices, each in a transaction of its own, so that workers write in between. It ends at the first slice that
has the id, or after a time, and says where to go on.

What is found: the ids of backups and of events that have failed are in a row, those of volumes and of all
events are in the bodies of waiting messages. Of an event that has ended well the ledger keeps no id.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from handler.backup.ports import Key
from handler.ledger.journal_sql import standings
from handler.ledger.row import STATES

SLICE: Final = 5_000
"""Most rows of a slice."""

GLANCE: Final = 1_000
"""Most rows of each place that are read first: what is searched for is new, as a rule."""

WAITING: Final = "waiting"
PLACES: Final = (
    WAITING,
    *(each for state in sorted(STATES, key="completed".__eq__) for each in standings(state)),
)
"""Where a search looks, in this order: the bodies of waiting messages, then rows by their standing."""

_EVER = 1e12
_SEPARATOR = "@"


class Slice(NamedTuple):
    """A slice of a search: rows changed at ``after`` or before, or messages whose id is greater."""

    text: str
    place: str = WAITING
    after: str = ""
    limit: int = SLICE
    glanced: bool = False
    """Whether the newest rows of each place were read before."""

    @property
    def quoted(self) -> str:
        """The text as JSON has it, without the quotes."""
        return json.dumps(self.text)[1:-1]

    @property
    def before(self) -> float:
        """The time of the slice's latest row."""
        return float(self.after) if self.after else _EVER

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of a statement."""
        return {
            "exact": f'"{self.quoted}"',
            "replay": f'"{self.quoted}#',
            "bytes": self.quoted.encode(),
            "standing": self.place,
            "before": _EVER if self.place == WAITING else self.before,
            "after": self.after,
            "limit": self.limit,
        }

    def next(self, last: str | float | None) -> str | None:
        """Return where the next slice begins after the last row of this one; None: there is none."""
        if last is None or isinstance(last, str):
            return last
        # A slice of rows that have all changed at one time: go on before it.
        return repr(last if last < self.before else math.nextafter(last, 0.0))

    def rest(self, after: str | None) -> "Slice | None":
        """Return the slice that follows; ``after`` is where it begins in the same place, if there is more."""
        if after is not None:
            return self._replace(after=after)
        place = PLACES.index(self.place) + 1
        return self._replace(place=PLACES[place], after="") if place < len(PLACES) else None

    def to_text(self) -> str:
        """Return the slice without its text, to go on with later."""
        return f"{self.place}{_SEPARATOR}{self.after}"


def slice_at(text: str, at: str | None) -> Slice:
    """Return the slice at which a search goes on. Raises ``ValueError`` for what is none."""
    if at is None:
        return Slice(text)
    place, separator, after = at.partition(_SEPARATOR)
    found = Slice(text, place, after, glanced=True)
    try:
        known = place in PLACES and separator and (place == WAITING or math.isfinite(found.before))
    except ValueError:
        known = False
    if not (known and after.isprintable()):
        raise ValueError("it must be what an earlier answer has as next")
    return found


class Sliced(NamedTuple):
    """The keys that a slice has, how many rows were read, and where the next one begins in this place."""

    keys: Sequence[Key]
    searched: int
    after: str | None


class Found(NamedTuple):
    """The snapshots that were found, how many rows were read, and where to go on; None: all were read."""

    keys: Sequence[Key]
    searched: int
    rest: Slice | None
