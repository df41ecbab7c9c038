"""The entries of the ledger that operators write for all workers of a queue. Pure.

An entry is a pause of the queue or of one project, or the number of messages in hand. Beside them are the
messages that were *replaced*: brought back early, or ended, while a copy of them was in a wait queue. That
copy is ignored when it comes back after the event's end.
"""

from collections.abc import Iterable
from typing import NamedTuple

from handler.backup.control import Control, Pause

QUEUE_PAUSE = "pause"
CONCURRENCY = "concurrency"
REPLACED = "replaced"
"""The entry that says when the last of the copies that were replaced is due."""

_PROJECT_PAUSE = "pause/"

REPLACED_SECONDS = 30 * 86_400.0
"""For so long after its due time a copy that was replaced is remembered: it may stand in a long queue."""

SOON_SECONDS = 5.0
"""What is due so soon comes back by itself: workers may not know yet that a copy of it is replaced."""

_LOOKED_FOR_SECONDS = 86_400.0
"""For so long after that time each message that comes back is looked for among them."""


class Entry(NamedTuple):
    """An entry: what it is, since when, in seconds since the epoch, its number and its reason."""

    what: str
    since: float | None
    number: int | None = None
    reason: str = ""


def pause_of(project_id: str | None) -> str:
    """Return what the pause of a project, or of the queue (None), is called."""
    return QUEUE_PAUSE if project_id is None else f"{_PROJECT_PAUSE}{project_id}"


def control_of(entries: Iterable[Entry]) -> Control:
    """Return what the entries of a queue say together."""
    found = {each.what: each for each in entries}
    queue, concurrency, replaced = (found.get(what) for what in (QUEUE_PAUSE, CONCURRENCY, REPLACED))
    return Control(
        queue and _pause(queue),
        {
            what.removeprefix(_PROJECT_PAUSE): _pause(each)
            for what, each in sorted(found.items())
            if what.startswith(_PROJECT_PAUSE)
        },
        concurrency and concurrency.number,
        replaced.since + _LOOKED_FOR_SECONDS if replaced and replaced.since else 0.0,
    )


def _pause(entry: Entry) -> Pause:
    return Pause(entry.since or 0.0, entry.reason)


class Taken(NamedTuple):
    """A message that waits at the broker, as it is recorded: to be brought back early, or ended."""

    id: str
    body: bytes
    waits: int
    due_at: float
    project_id: str | None
    snapshot_id: str | None


class WaitingChoice(NamedTuple):
    """Which messages: those recorded up to ``recorded_by``, up to ``limit``, by what they are about.

    Those that are due, or nearly, come back by themselves and are left out unless ``also_due``.
    """

    limit: int
    recorded_by: float
    project: str | None = None
    reason: str | None = None
    snapshot: str | None = None
    also_due: bool = False
