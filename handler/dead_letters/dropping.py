"""Drops dead letters: removes them for good, each after it is on disk in an archive, if there is one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from handler.dead_letters.archive import Archive
from handler.dead_letters.filters import Filters
from handler.dead_letters.queue_session import HeldDeadLetter, selected
from handler.dead_letters.reading import Reading

_BATCH = 500


def _noop(_dropped: int) -> None:
    """Do nothing."""


async def drop(
    found: Reading,
    filters: Filters,
    limit: int | None,
    path: Path | None,
    notify: Callable[[int], None] = _noop,
    stop: asyncio.Event | None = None,
) -> int:
    """Remove the matching dead letters; with ``path``, each is on disk before it is removed.

    ``notify`` is called with how many were removed so far. Returns how many were removed.
    """
    dropped, batch = 0, list[HeldDeadLetter]()
    archive = Archive(path) if path else None
    try:
        async for held in selected(found, filters, limit=limit, stop=stop):
            batch.append(held)
            if len(batch) == _BATCH:
                dropped += await _remove(batch, archive)
                notify(dropped)
        dropped += await _remove(batch, archive)
        notify(dropped)
    finally:
        if archive:
            archive.close()
    return dropped


async def _remove(batch: list[HeldDeadLetter], archive: Archive | None) -> int:
    """Archive and remove these dead letters, and clear the list; return their number."""
    if archive and batch:
        for held in batch:
            archive.add(held.dead_letter)
        archive.save()
    await asyncio.gather(*(held.remove() for held in batch))
    taken = len(batch)
    batch.clear()
    return taken
