"""The limits of backups in progress, and who takes the next slot: pure rules over a few numbers.

Each backup in progress has a slot, from its claim to its end. ``MAX_RUNNING`` limits the slots of a cloud,
``[[limit]]`` tables of ``RULES_FILE`` those of a group of snapshots. A message that gets no slot waits in the
broker, and comes back to ask again.

**Who is next.** A free slot goes to the project with the fewest slots; of several, to the one that has got
the fewest so far. So a slot stays free for a moment if the message of such a project is on its way. A new
message does not overtake those of its project that wait.

**When to ask again.** Some messages of each project ask after the shortest delay, so that a free slot is
used at once. The others ask after longer ones. How many wait in each wait queue follows from how fast slots
become free: enough to fill all slots until those of the next wait queue come back. So thousands of waiting
messages cost a few claims a second.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_RUNNING = "MAX_RUNNING"
"""The name of the limit of a cloud."""

LONGEST_DELAY = 600.0
"""Seconds after which a message asks again at the latest, unless the shortest delay is longer."""

_LATE = 15.0
"""Seconds after which a message that was expected back is no longer waited for."""

_LEAST_RATE = 2.0
"""Messages a second that come back from each wait queue at least, if there are as many."""

_PATIENCE = 0.1
"""The part of a backup's mean time for which a slot is kept for the project that is next."""

_SURPLUS = 1.5
"""So many times the messages that are needed come back, since not all get a slot."""

_MOST_PATIENCE = 60.0
"""Seconds for which a slot is kept at most."""

_REMEMBERED = 3600.0
"""Seconds for which the ledger remembers how many slots a project got that does not wait any more."""

_ROUNDED = 0.01
"""Seconds by which a message may come back earlier than expected, since stored times are rounded."""


class Limit(NamedTuple):
    """At most ``most`` backups of a ``group`` are in progress. The group's name counts them together."""

    group: str
    most: int


def group(name: str, part: str = "") -> str:
    """Return the name of a group: that of its limit, and of the project, zone or cloud that it is of."""
    return f"{name}/{part}" if part else name


def limit_of(name: str) -> str:
    """Return the name of the limit that a group belongs to."""
    return name.partition("/")[0]


class Room(NamedTuple):
    """What a claim needs to know to ask for a slot.

    A slot ends by itself after ``hold`` seconds without a change. ``returned``: the message has waited
    before. ``forced``: it gets a slot in any case, since a request may have left. ``tracked``: its backup is
    in progress. ``delays`` are those of the wait queues.
    """

    limits: Sequence[Limit]
    hold: float
    delays: Sequence[int]
    returned: bool = False
    forced: bool = False
    tracked: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in which the backup counts."""
        return tuple(limit.group for limit in self.limits)


class Queue(NamedTuple):
    """The messages of one project that wait for a slot of one group. Times are seconds since the epoch.

    ``granted_at``: the project's last slot. ``served`` counts its slots, and begins with the count of those
    that wait already. For each wait queue, ``due`` says when the last message that was
    put there comes back, and ``levels`` until when the queue has its share of messages.
    """

    granted_at: float = 0.0
    served: float = 0.0
    due: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def relevant_until(self) -> float:
        """Until when the queue says something about the order of projects."""
        return max(max(self.due, default=0.0) + _LATE, self.granted_at + _REMEMBERED)

    def waits(self, now: float, within: float = LONGEST_DELAY) -> bool:
        """Return whether a message of the project waits, and comes back within so many seconds."""
        return any(now - _LATE < due <= now + within for due in self.due)

    def granted(self, now: float) -> "Queue":
        """Return the queue after a slot for a message that has come back."""
        due = tuple(0.0 if each <= now else each for each in self.due)
        return self._replace(granted_at=now, served=self.served + 1, due=due)

    def delayed(self, step: int, seconds: float, level: float, steps: int, now: float) -> "Queue":
        """Return the queue after a message was put into the wait queue number ``step``."""
        due, levels = _of_length(self.due, steps), _of_length(self.levels, steps)
        due[step], levels[step] = now + seconds, level
        return self._replace(due=tuple(due), levels=tuple(levels))


def _of_length(numbers: Sequence[float], length: int) -> list[float]:
    """Return numbers for so many wait queues: ``WAIT_LADDER`` may have changed."""
    return [*numbers, *([0.0] * length)][:length]


class Pace(NamedTuple):
    """How long a group's backups are in progress, in seconds, by the time in which all slots change hands.

    ``taken`` slots were taken since ``since``; ``cycle`` is the time in which all were taken before.
    """

    since: float = 0.0
    taken: float = 0
    cycle: float = 0.0

    def after(self, now: float, most: int) -> "Pace":
        """Return the pace after one more slot of ``most``."""
        if self.taken + 1 < most:
            return self._replace(since=self.since or now, taken=self.taken + 1)
        return Pace(now, 0, max(0.0, now - (self.since or now)))

    def seconds(self, now: float) -> float:
        """Return how long a backup is in progress, about."""
        return max(self.cycle, now - self.since, 0.0) if self.since else 0.0


class Slots:
    """The slots of the loaded groups, as one transaction of the ledger sees and changes them.

    ``counts`` has the slots by group and project, ``queues`` what waits for them. ``changed_queues`` and
    ``changed_paces`` are to be written.
    """

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, int]] = {}
        self.queues: dict[str, dict[str, Queue]] = {}
        self.paces: dict[str, Pace] = {}
        self.changed_queues: set[tuple[str, str]] = set()
        self.changed_paces: set[str] = set()

    def load(
        self, group: str, counts: Mapping[str, int], queues: Mapping[str, Queue], pace: Pace | None
    ) -> None:
        """Add what is stored of a group, by project."""
        self.counts[group] = dict(counts)
        self.queues[group] = dict(queues)
        self.paces[group] = pace or Pace()

    def move(self, project: str, groups: Sequence[str], change: int) -> None:
        """Count one slot more or fewer in those of the groups that are loaded."""
        for group in groups:
            if (held := self.counts.get(group)) is not None:
                held[project] = held.get(project, 0) + change

    def ask(self, room: Room, project: str, now: float) -> float | None:
        """Return after how many seconds to ask again; None: there is a slot in each group."""
        for limit in room.limits:
            if self._free(limit) <= self._ahead(limit, room, project, now):
                return self._delay(limit, room, project, now)
        for limit in room.limits:
            self._granted(limit, project, now)
        return None

    def _free(self, limit: Limit) -> int:
        return limit.most - sum(self.counts[limit.group].values())

    def _ahead(self, limit: Limit, room: Room, project: str, now: float) -> int:
        """Count the slots that other projects take before this one, one project after the other."""
        patience = min(_MOST_PATIENCE, _PATIENCE * self.paces[limit.group].seconds(now))
        within = max(2.0 * room.delays[0], patience)
        queues = self.queues[limit.group]
        before = sum(
            self._before(limit.group, other, project)
            for other, queue in queues.items()
            if other != project and queue.waits(now, within)
        )
        overtakes = not room.returned and project in queues and queues[project].waits(now)
        return before + overtakes

    def _before(self, group: str, other: str, project: str) -> int:
        """Count the slots that one other project takes before this one gets its next."""
        fewer = self.counts[group].get(project, 0) - self.counts[group].get(other, 0)
        if fewer < 0:
            return 0
        return fewer + (self._queue(group, other).served + fewer < self._queue(group, project).served)

    def _queue(self, group: str, project: str) -> Queue:
        return self.queues[group].get(project, Queue())

    def _joined(self, group: str, project: str, now: float) -> Queue:
        """Return the queue of a project, which has no claim to slots of a time in which it did not wait."""
        queue = self._queue(group, project)
        if queue.waits(now):
            return queue
        least = min((each.served for each in self.queues[group].values() if each.waits(now)), default=0.0)
        return queue._replace(served=max(queue.served, least))

    def _granted(self, limit: Limit, project: str, now: float) -> None:
        group = limit.group
        self._write(group, project, self._joined(group, project, now).granted(now))
        self.paces[group] = self.paces[group].after(now, limit.most)
        self.changed_paces.add(group)

    def _delay(self, limit: Limit, room: Room, project: str, now: float) -> float:
        """Choose the first wait queue that lacks messages of this project."""
        queue, others = self._joined(limit.group, project, now), self.queues[limit.group]
        projects = 1 + sum(each.waits(now) for name, each in others.items() if name != project)
        pace = limit.most / max(room.delays[0], self.paces[limit.group].seconds(now))
        delays = [room.delays[0], *(each for each in room.delays[1:] if each <= LONGEST_DELAY)]
        levels = _of_length(queue.levels, len(delays))
        for step, (seconds, longer) in enumerate(itertools.pairwise(delays)):
            wanted = max(_SURPLUS * pace * longer, _LEAST_RATE * seconds) / projects
            level = max(levels[step], now) + seconds / wanted
            if level - now <= seconds + _ROUNDED:
                break
        else:
            step, seconds, level = len(delays) - 1, delays[-1], 0.0
        self._write(limit.group, project, queue.delayed(step, seconds, level, len(delays), now))
        return float(seconds)

    def _write(self, group: str, project: str, queue: Queue) -> None:
        self.queues[group][project] = queue
        self.changed_queues.add((group, project))
