"""The verdict on a run, snapshot by snapshot, after Jepsen.

| class      | meaning |
|------------|---------|
| ok         | one terminal outcome, published once, and one backup |
| recovered  | one terminal outcome, published again, or found after a fault |
| duplicated | a second backup |
| lost       | accepted by the broker, but without a terminal outcome |
| unexpected | an outcome or backup without an event, or two different outcomes |
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Verdict = Literal["ok", "recovered", "duplicated", "lost", "unexpected"]
VERDICTS: Final[tuple[Verdict, ...]] = ("ok", "recovered", "duplicated", "lost", "unexpected")
TERMINAL: Final = frozenset({"backup.completed", "backup.failed", "backup.skipped"})
ACCEPTED: Final = "backup.accepted"


@dataclass
class Tally:
    """The count of each class, and the snapshots that make a run a failure."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    bad: dict[str, str] = field(default_factory=dict)

    def table(self, title: str, **notes: object) -> str:
        """Return the line that a run prints."""
        counts = "  ".join(f"{verdict} {self.counts[verdict]}" for verdict in VERDICTS)
        extra = "  ".join(f"{key} {value}" for key, value in notes.items())
        return f"{title}: {counts}  {extra}".rstrip()


def judge(
    asked: Iterable[str],
    outcomes: Sequence[Mapping[str, Any]],
    backups: Iterable[str],
    *,
    tracked: bool,
    expected_backups: int = 1,
) -> Tally:
    """Return the verdicts on a run.

    Args:
        asked: the snapshot ids of all events that were accepted.
        outcomes: every published outcome event, also those published again.
        backups: the snapshot id of every backup ever made.
        tracked: whether backups were tracked to their end; if not, ``backup.accepted`` is terminal.
        expected_backups: how many backups a snapshot may have at most.

    """
    terminal = TERMINAL if tracked else TERMINAL | {ACCEPTED}
    made = Counter(backups)
    published: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for outcome in outcomes:
        published[outcome.get("subject", "")].append(outcome)
    tally = Tally()
    wanted = set(asked)
    for snapshot in wanted | set(made) | set(published):
        verdict, why = _one(
            snapshot in wanted,
            published[snapshot],
            made[snapshot],
            terminal,
            expected_backups=expected_backups,
        )
        tally.counts[verdict] += 1
        if why:
            tally.bad[snapshot] = f"{verdict}: {why}"
    return tally


def _one(
    wanted: bool,
    published: Sequence[Mapping[str, Any]],
    made: int,
    terminal: frozenset[str],
    *,
    expected_backups: int,
) -> tuple[Verdict, str]:
    ends = [outcome for outcome in published if outcome["type"] in terminal]
    different = {outcome["id"] for outcome in ends}
    if not wanted:
        return "unexpected", f"no such event was sent: {made} backups, {len(published)} outcomes"
    if made > expected_backups:
        return "duplicated", f"{made} backups"
    if not ends:
        return "lost", f"only these outcomes: {[outcome['type'] for outcome in published]}, {made} backups"
    if len(different) > 1:
        return "unexpected", f"different ends: {[outcome['type'] for outcome in ends]}"
    if not made and ends[0]["type"] in ("backup.completed", ACCEPTED):
        return "unexpected", "an outcome reports a backup that does not exist"
    again = len(published) > len({outcome["id"] for outcome in published})
    found = any(outcome["data"].get("found") for outcome in published)
    return ("recovered" if again or found else "ok"), ""
