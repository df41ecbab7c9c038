"""The workers of a queue, as they report themselves to the ledger."""

from collections.abc import Mapping, Sequence
from typing import Any

from handler.backup.workers import Workers
from handler.console.times import iso


def document(workers: Workers) -> Sequence[Mapping[str, Any]]:
    """Return the workers as JSON values; ``silent`` are those that ended without an orderly stop, or hang.

    ``seconds_ago`` is the age of the latest report by the ledger's clock.
    """
    silent = {each.id for each in workers.silent}
    return [
        {
            "id": each.id,
            "host": each.host,
            "pid": each.pid,
            "version": each.version,
            "started_at": iso(each.started_at),
            "seen_at": iso(each.seen_at),
            "seconds_ago": round(workers.age(each), 1),
            "state": each.state,
            "silent": each.id in silent,
            "in_hand": each.in_hand,
            "concurrency": each.concurrency,
        }
        for each in workers.records
    ]
