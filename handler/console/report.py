"""What was backed up and what was not, by project, hour or category, as rows, text and CSV. Pure."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from handler.ledger.inquiry import By, Sum
from handler.printable import printable

_COLUMNS: Final[Mapping[str, str]] = {
    "completed": "backed_up",
    "claimed": "in_progress",
    "accepted": "in_progress",
    "in doubt": "in_doubt",
    "waiting": "waiting",
    "open": "waiting",
    "failed": "failed",
    "skipped": "skipped",
}
"""The column that counts each state."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")  # noqa: RUF001
"""What a spreadsheet takes for the start of a formula or of a command, also in full-width forms."""


class ReportRow(NamedTuple):
    """The snapshots of one group, each counted once by where it stands now.

    ``in_progress``: claimed, or its backup was accepted. ``waiting``: it waits without a backup.
    """

    group: str
    backed_up: int = 0
    in_progress: int = 0
    in_doubt: int = 0
    waiting: int = 0
    failed: int = 0
    skipped: int = 0


def table(sums: Sequence[Sum], *, tracked: bool = True) -> Sequence[ReportRow]:
    """Return a row for each group, in order. If backups are not ``tracked``, accepted ones are backed up."""
    groups: dict[str, Counter[str]] = {}
    for each in sums:
        column = _COLUMNS[each.what]
        if each.what == "accepted" and not tracked:
            column = "backed_up"
        groups.setdefault(each.group, Counter())[column] += each.number
    return [ReportRow(group, **counts) for group, counts in sorted(groups.items())]


def total(rows: Sequence[ReportRow]) -> ReportRow:
    """Return the sums of all rows."""
    return ReportRow("total", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))


def head(by: By) -> Sequence[str]:
    """Return the names of the columns."""
    return (by, *ReportRow._fields[1:])


def to_csv(rows: Sequence[ReportRow], by: By) -> str:
    """Return the rows as CSV that a spreadsheet opens without running anything that is in it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head(by))
    writer.writerows((cell(row.group), *row[1:]) for row in rows)
    return text.getvalue()


def cell(text: str) -> str:
    """Return a text as a cell that is a text: with an apostrophe before what would begin a formula."""
    safe = printable(text)
    return f"'{safe}" if text.lstrip(" \N{NO-BREAK SPACE}'\"").startswith(_FORMULA) else safe
