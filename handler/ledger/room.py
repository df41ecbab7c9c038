"""The slots of backups in progress in the ledger: what a claim gets where their number is limited. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from handler.backup.ports import Claim, Created, Full, Granted, Key
from handler.backup.running import Pace, Queue, Room, Slots
from handler.ledger.row import Row, Slot
from handler.ledger.rules import Changed

LONG_SECONDS = 600.0
"""Backups that are in progress for longer count as long ones."""

ALL_PROJECTS = ""
"""Stands for the project where the pace of a whole group is stored."""

PACE_SECONDS = 86_400.0
"""How long the pace of a group is remembered."""


class Running(NamedTuple):
    """The backups in progress of one group, each with a slot, and how many of them are long."""

    slots: int
    long: int


class RunningSummary(NamedTuple):
    """The backups in progress by group, and how many messages wait for room."""

    groups: Mapping[str, Running]
    waiting: int


def with_slot(
    row: Row | None, changed: Changed[Claim], key: Key, room: Room, slots: Slots, now: float
) -> Changed[Claim]:
    """Return what a claim gets: its answer with a slot, or ``Full`` and no change."""
    answer, after = changed
    if not isinstance(answer, Granted) or after is None or is_held(row, now):
        return changed
    if not (room.forced or answer.doubt) and (seconds := slots.ask(room, key.project_id, now)) is not None:
        return Full(seconds), None
    return answer, replace(after, slot=_new(room, now))


def with_tracked_slot(row: Row | None, changed: Changed[Claim], room: Room, now: float) -> Changed[Claim]:
    """Give a backup that is tracked a slot: it may have been made before their number was limited."""
    answer, _ = changed
    if not isinstance(answer, Created) or row is None or is_held(row, now):
        return changed
    return answer, replace(row, slot=_new(room, now))


def _new(room: Room, now: float) -> Slot:
    return Slot(room.groups, room.hold, now, now + room.hold)


def is_held(row: Row | None, now: float) -> bool:
    """Return whether the row has a slot that has not ended by itself."""
    return bool(held_groups(row.slot if row else None, now))


def held_groups(slot: Slot | None, now: float) -> Sequence[str]:
    """Return the groups in which a slot counts."""
    return slot.groups if slot is not None and now < slot.until else ()


QueueRow = tuple[str, str, float, str]
"""Group, project, until when the row is of use, and its numbers as JSON."""


def changed_rows(slots: Slots) -> Sequence[QueueRow]:
    """Return the rows to write, in one order for all transactions."""
    rows: list[QueueRow] = []
    for group, project in sorted(slots.changed_queues):
        queue = slots.queues[group][project]
        numbers = (queue.granted_at, queue.served, *queue.due, *queue.levels)
        rows.append((group, project, queue.relevant_until, _text(numbers)))
    for group in sorted(slots.changed_paces):
        pace = slots.paces[group]
        rows.append((group, ALL_PROJECTS, pace.since + PACE_SECONDS, _text(pace)))
    return rows


def load_rows(slots: Slots, group: str, counts: Mapping[str, int], rows: Iterable[tuple[str, str]]) -> None:
    """Load a group from the rows of its queues: project and numbers."""
    queues, pace = {}, None
    for project, text in rows:
        first, second, *others = json.loads(text)
        if project == ALL_PROJECTS:
            pace = Pace(first, second, *others)
        else:
            half = len(others) // 2
            queues[project] = Queue(first, second, tuple(others[:half]), tuple(others[half:]))
    slots.load(group, counts, queues, pace)


def _text(numbers: Iterable[float]) -> str:
    return json.dumps([round(number, 3) for number in numbers])
