"""Tables and texts that show dead letters on a terminal."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from handler.commands.console import SafeConsole
from handler.dead_letters.dead_letter import DeadLetter
from handler.dead_letters.groups import Groups
from handler.printable import printable

_REASON = 48
_WIDE = 180


def out() -> SafeConsole:
    """Return the console for results; wide if it is not a terminal, so that no line is wrapped."""
    found = SafeConsole(highlight=False)
    return found if found.is_terminal else SafeConsole(highlight=False, width=_WIDE)


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


def groups_table(groups: Groups, queue: str) -> Table:
    """Return a table of the groups: category, code, count, and ages."""
    table = Table(title=f"{queue}: {counted(groups.total)}", title_justify="left")
    for column in ("category", "code"):
        table.add_column(column, overflow="fold")
    table.add_column("messages", justify="right")
    table.add_column("oldest", justify="right")
    table.add_column("newest", justify="right")
    for group in groups:
        table.add_row(
            plain(group.category),
            plain(group.code or "-"),
            f"{group.count:,}",
            age(group.oldest),
            age(group.newest),
        )
    return table


def dead_letters_table(dead_letters: Iterable[DeadLetter]) -> Table:
    """Return a table of dead letters, one row each."""
    table = Table()
    for column in ("id", "age", "attempts"):
        table.add_column(column, no_wrap=True)
    for column in ("reason", "snapshot", "project"):
        table.add_column(column, overflow="fold")
    for dead_letter in dead_letters:
        table.add_row(
            dead_letter.id,
            age(dead_letter.dead_at),
            str(dead_letter.attempts),
            plain(reason(dead_letter)),
            plain(dead_letter.snapshot_id or "-"),
            plain(dead_letter.project_id or "-"),
        )
    return table


def reason(dead_letter: DeadLetter) -> str:
    """Return category and reason, truncated to one line."""
    text = f"{dead_letter.category}: {dead_letter.reason}" if dead_letter.reason else dead_letter.category
    return text if len(text) <= _REASON else text[: _REASON - 1] + "…"


def counted(number: int) -> str:
    """Return a number of dead letters in words."""
    return "1 dead letter" if number == 1 else f"{number:,} dead letters"
