"""Tables and texts that show dead letters on a terminal."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from handler.commands.console import SafeConsole
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.groups import Groups
from handler.dead_letters.remedies import CODES, remedy
from handler.printable import printable

_WIDE = 180


def out(*, error: bool = False) -> SafeConsole:
    """Return the console for results; wide if it is not a terminal, so that no line is wrapped.

    With ``error`` it is standard error, for what is shown beside a JSON document.
    """
    found = SafeConsole(highlight=False, stderr=error)
    return found if found.is_terminal else SafeConsole(highlight=False, stderr=error, width=_WIDE)


def plain(text: str) -> Text:
    """Return text of a message without markup and control characters, safe for the terminal."""
    return Text(printable(text, keep="\n"))


def pretty(value: Mapping[str, Any] | list[Any]) -> Text:
    """Return indented JSON."""
    return plain(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return the time since ``moment`` in one unit, such as 3h."""
    if moment is None:
        return "-"
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def print_groups(console: SafeConsole, groups: Groups, queue: str) -> None:
    """Print a table of the groups: category, code, count, and ages."""
    console.print(plain(f"{queue}: {counted(groups.total)}"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("category", "code"):
        table.add_column(column, overflow="fold")
    for column in ("messages", "oldest", "newest"):
        table.add_column(column, justify="right")
    for group in groups:
        table.add_row(
            plain(group.category),
            plain(group.code or "-"),
            f"{group.count:,}",
            age(group.oldest),
            age(group.newest),
        )
    if groups.total:
        console.print(table)
    for category, text in remedies_of(groups).items():
        console.print(plain(f"{category}: {text}"), soft_wrap=True)
    if groups.total:
        console.print()


def remedies_of(groups: Groups) -> Mapping[str, str]:
    """Return what to do about each category that occurs, and about each code that decides."""
    found: dict[str, str] = {}
    for group in groups:
        special = (group.category, group.code) in CODES
        found[f"{group.category} {group.code}" if special else group.category] = remedy(
            group.category, group.code
        )
    return found


def print_dead_letters(console: SafeConsole, dead_letters: Sequence[DeadLetter]) -> None:
    """Print two lines for each dead letter, with whole ids: none is cut, and none is broken by a line's end.

    At a terminal the reason is cut to the width; elsewhere it is whole.
    """
    rows = [_cells(each) for each in dead_letters]
    if not rows:
        return
    widths = [
        max(map(len, column)) for column in zip(_HEAD[:-1], *(row[:-1] for row, _ in rows), strict=True)
    ]
    room = max(_SHORTEST, console.width - sum(widths) - 2 * len(widths)) if console.is_terminal else None
    for (first, second), style in zip([(_HEAD, _SECOND), *rows], ["bold", *[""] * len(rows)], strict=True):
        *cells, reason = first
        text = Text(reason)
        if room:
            text.truncate(room, overflow="ellipsis")
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        for line in (Text.assemble(start, "  ", text, style=style), Text(second, style=style)):
            if line.plain.strip():
                console.print(line, soft_wrap=True)


_HEAD = ("category", "id", "age", "attempts", "reason")
_SECOND = f"  {'snapshot':36}  project"
_SHORTEST = 20
"""The reason has so many characters at least, however narrow the terminal."""


def _cells(dead_letter: DeadLetter) -> tuple[tuple[str, ...], str]:
    """Return the cells of the first line, and the second line, which is empty if nothing is known."""
    first = (
        dead_letter.category,
        dead_letter.id,
        age(dead_letter.dead_at),
        str(dead_letter.attempts),
        dead_letter.reason or "-",
    )
    snapshot, project = dead_letter.snapshot_id, dead_letter.project_id
    second = f"  {snapshot or '-':36}  {project or '-'}" if snapshot or project else ""
    return tuple(map(printable, first)), printable(second)


def counted(number: int) -> str:
    """Return a number of dead letters in words."""
    return "1 dead letter" if number == 1 else f"{number:,} dead letters"
