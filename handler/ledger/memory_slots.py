"""The slots of backups in progress in a ledger in memory: the part of a transaction that is about them."""

from collections import Counter
from collections.abc import Sequence

from handler.backup.ports import Key
from handler.backup.running import Slots
from handler.ledger.memory_tables import Tables
from handler.ledger.room import LONG_SECONDS, Running, RunningSummary, held_groups
from handler.ledger.row import Slot


class MemorySlots:
    """The slots; ``now`` is the time."""

    def __init__(self, tables: Tables, now: float) -> None:
        self._tables = tables
        self._now = now

    def load(self, groups: Sequence[str]) -> Slots:
        """Return the slots, with these groups loaded."""
        slots = self._tables.slots
        for group in groups:
            counts = Counter(key.project_id for key in self._holders(group))
            slots.load(group, counts, slots.queues.get(group, {}), slots.paces.get(group))
        return slots

    def move(self, key: Key, after: Slot | None) -> None:
        """Write a row's slot."""
        if after is None:
            self._tables.held.pop(key, None)
        else:
            self._tables.held[key] = after

    def running(self) -> RunningSummary:
        """Count the slots, and the messages that wait for one."""
        held = self._tables.held
        groups = {group for slot in held.values() for group in held_groups(slot, self._now)}
        holders = {group: self._holders(group) for group in groups}
        long = {
            group: sum(held[key].since <= self._now - LONG_SECONDS for key in keys)
            for group, keys in holders.items()
        }
        waiting = sum(each.waiting.reason == "room" for each in self._tables.waiting.values())
        running = {group: Running(len(keys), long[group]) for group, keys in holders.items()}
        return RunningSummary(running, waiting)

    def _holders(self, group: str) -> Sequence[Key]:
        return [key for key, slot in self._tables.held.items() if group in held_groups(slot, self._now)]
