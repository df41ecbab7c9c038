"""The verdict on a run, snapshot by snapshot, after Jepsen.

| class      | meaning |
|------------|---------|
| ok         | one terminal outcome, told once, one backup |
| recovered  | one terminal outcome, told again or found after a fault |
| duplicated | a second backup |
| lost       | accepted, and no terminal outcome |
| unexpected | an outcome or a backup nobody asked for, or two different outcomes |
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
    """Judge a run.

    Args:
        asked: the snapshot ids of all events that were accepted.
        outcomes: every outcome event told, repeats included.
        backups: the snapshot id of every backup ever made.
        tracked: whether backups were watched to their end; if not, ``backup.accepted`` is terminal.
        expected_backups: how many backups a snapshot may have at most.

    """
    terminal = TERMINAL if tracked else TERMINAL | {ACCEPTED}
    made = Counter(backups)
    told: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for outcome in outcomes:
        told[outcome.get("subject", "")].append(outcome)
    tally = Tally()
    wanted = set(asked)
    for snapshot in wanted | set(made) | set(told):
        verdict, why = _one(
            snapshot in wanted, told[snapshot], made[snapshot], terminal, expected_backups=expected_backups
        )
        tally.counts[verdict] += 1
        if why:
            tally.bad[snapshot] = f"{verdict}: {why}"
    return tally


def _one(
    wanted: bool,
    told: Sequence[Mapping[str, Any]],
    made: int,
    terminal: frozenset[str],
    *,
    expected_backups: int,
) -> tuple[Verdict, str]:
    ends = [outcome for outcome in told if outcome["type"] in terminal]
    different = {outcome["id"] for outcome in ends}
    if not wanted:
        return "unexpected", f"nobody asked: {made} backups, {len(told)} outcomes"
    if made > expected_backups:
        return "duplicated", f"{made} backups"
    if not ends:
        return "lost", f"told only {[outcome['type'] for outcome in told]}, {made} backups"
    if len(different) > 1:
        return "unexpected", f"different ends: {[outcome['type'] for outcome in ends]}"
    if not made and ends[0]["type"] in ("backup.completed", ACCEPTED):
        return "unexpected", "told as made, and was not"
    again = len(told) > len({outcome["id"] for outcome in told})
    found = any(outcome["data"].get("found") for outcome in told)
    return ("recovered" if again or found else "ok"), ""
