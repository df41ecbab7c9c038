"""What operators set for all workers of a queue: pause and resume, and the number of messages in hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from handler.backup.control import Control, Pause
from handler.ledger.ledger import StoredLedger
from handler.printable import printable

NOTICED_SECONDS = 5
"""Within so many seconds every worker acts on it."""

MOST_REASON = 200
"""Characters of a reason that are kept."""


async def pause(ledger: StoredLedger, queue: str, *, project: str | None = None, reason: str = "") -> Control:
    """Pause a queue, or one project of it. Raises ``LedgerUnavailable``.

    Of the reason, what no ledger stores or a terminal obeys is replaced.
    """
    await ledger.pause(queue, project, printable(" ".join(reason.split()))[:MOST_REASON])
    return await ledger.control(queue)


async def resume(ledger: StoredLedger, queue: str, *, project: str | None = None) -> Control:
    """End the pause of a queue, or of one project; the other pauses stay. Raises ``LedgerUnavailable``."""
    await ledger.resume(queue, project)
    return await ledger.control(queue)


async def set_concurrency(ledger: StoredLedger, queue: str, number: int | None) -> Control:
    """Set the messages in hand of each worker; None: each has its own ``CONCURRENCY`` again."""
    await ledger.set_concurrency(queue, number)
    return await ledger.control(queue)


def document(control: Control) -> Mapping[str, Any]:
    """Return what is set, for ``--json``."""
    return {
        "paused": _pause(control.queue) if control.queue else None,
        "projects": {project: _pause(each) for project, each in control.projects.items()},
        "concurrency": control.concurrency,
    }


def _pause(pause: Pause) -> Mapping[str, Any]:
    since = datetime.fromtimestamp(pause.since, UTC).isoformat(timespec="seconds")
    return {"since": since, "reason": pause.reason}
