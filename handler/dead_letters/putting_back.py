"""Puts exported dead letters back into the queue of the dead letters, as they were: the undo of a drop.

Those that are in the queue already are left out, so that an undo that was killed can be run again, and an
export of which nothing was removed adds nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from events.republish import put_back
from handler.broker.outbox import BrokerOutbox
from handler.dead_letters.archive import ArchiveReader
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import selected
from handler.dead_letters.reading import Reading

_BATCH = 100


class Returned(NamedTuple):
    """How many dead letters were put back, and how many were in the queue already."""

    put_back: int = 0
    there: int = 0


async def put_back_all(
    found: Reading,
    exported: ArchiveReader,
    outbox: BrokerOutbox,
    notify: Callable[[Returned], None],
    stop: asyncio.Event,
) -> Returned:
    """Publish the dead letters of an archive to their queue, behind those that are there; each is confirmed.

    ``found`` is a reading of that queue under its lock. ``notify`` is called with what was done so far.
    Raises ``ConnectionLost``; what was put back before stays so.
    """
    there = Counter[str]()
    async for held in selected(found, Filters(), stop=stop):
        there[held.dead_letter.id] += 1
    done = Returned()
    batch = []
    for dead_letter in exported:
        if stop.is_set():
            break
        if there[dead_letter.id]:
            there[dead_letter.id] -= 1
            done = done._replace(there=done.there + 1)
            continue
        batch.append(put_back(dead_letter.message))
        if len(batch) == _BATCH:
            await asyncio.gather(*(outbox.dead_letter(message, {}) for message in batch))
            done = done._replace(put_back=done.put_back + len(batch))
            batch.clear()
            notify(done)
    if not stop.is_set():
        await asyncio.gather(*(outbox.dead_letter(message, {}) for message in batch))
        done = done._replace(put_back=done.put_back + len(batch))
    notify(done)
    return done
