"""The ledger's journal: what has happened to each snapshot, as entries with their times. Pure.

An entry is made from a change of the ledger and written in the same transaction. A claim has none of its own:
while it holds, the row says so, and the entry of what ended it says when it began.

A snapshot's entries are a text in its own row, one line each, and those of a message that waits are in that
message's record, until its event has ended. A table of entries with an index would add a page to each
transaction for each of its snapshots: that cost half as much as all else that the ledger writes.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from handler.backup.ports import Finished, Key, Waiting
from handler.backup.result import is_skip
from handler.ledger.row import Row, RowState

OUTCOMES: Final = ("accepted", "completed", "failed", "skipped")
"""The entries that are counted in the sums of each hour."""

HOUR: Final = 3600.0

_LONGEST: Final = 255
"""Most characters of an id or a code."""

MOST_CHARACTERS: Final = 16_384
"""Most characters of a snapshot's entries, and of a waiting message's: the last ones are kept."""


class Entry(NamedTuple):
    """One thing that happened to a snapshot. Times are seconds since the epoch.

    ``what`` is one of:

    - ``claim lapsed``: another worker's claim had ended without an answer; it ``began`` then
    - ``released``: the claim was given back; no backup was made
    - ``in doubt``: the answer to a request was lost; the first lookup is due at ``due_at``
    - ``looked up``: lookup ``number`` found nothing; the next is due at ``due_at``
    - ``accepted``, ``completed``: the backup ``backup_id`` was requested or found; it is available
    - ``failed``, ``skipped``: the event ``event_id`` ended without a backup; ``reason`` is the category
    - ``waiting``: the message was delayed for ``reason``, the ``number``-th time, until ``due_at``
    - ``published``: the outcome of an event that had waited was published

    ``began`` is when the claim that this entry ended was made, or last renewed.
    """

    at: float
    project_id: str
    snapshot_id: str
    what: str
    began: float | None = None
    due_at: float | None = None
    number: int | None = None
    backup_id: str | None = None
    reason: str | None = None
    code: str | None = None
    event_id: str | None = None


_FIELDS: Final = len(Entry._fields) - 2
_NO_ROW: Final = Row()


def changes(key: Key, before: Row | None, after: Row, now: float) -> list[Entry]:
    """Return what a change of a row means; nothing for a claim, its renewal, or a slot."""
    if before is None:
        before = _NO_ROW
    ended = before.token is not None and before.token != after.token
    began = before.updated_at if ended else None
    if after.token is not None:
        lapsed = [Entry(now, *key, "claim lapsed", began)] if ended else []
        return lapsed + _ends(key, before, after, None, now)
    found = _ends(key, before, after, began, now) or _doubts(key, before, after, began, now)
    return found if found or not ended else [Entry(now, *key, "released", began)]


def _ends(key: Key, before: Row, after: Row, began: float | None, now: float) -> list[Entry]:
    """Return that a backup was accepted or is available, or that an event has failed."""
    found, state = [], after.state
    if state is not before.state and (state is RowState.CREATED or state is RowState.COMPLETED):
        what = "accepted" if state is RowState.CREATED else "completed"
        backup = after.backup.id if after.backup else None
        found.append(Entry(now, *key, what, began, None, None, _plain(backup)))
    if after.failures == before.failures and state is not RowState.ERROR:
        return found
    failed = [(cause, end) for cause, end in after.failures.items() if cause not in before.failures]
    if not failed and after.end is not None and state is RowState.ERROR is not before.state:
        failed = [("", after.end)]
    backups = [each for each in after.failed_backups if each not in before.failed_backups]
    about = began, backups[0] if backups else None
    return found + [_failed(key, cause, end, *about, now) for cause, end in failed]


def _failed(
    key: Key, cause: str, end: Finished, began: float | None, backup_id: str | None, now: float
) -> Entry:
    failure = end.failure
    if failure is None or is_skip(failure):
        return Entry(now, *key, "skipped", began, event_id=_plain(cause))
    about = (_plain(backup_id), failure.category.value, _plain(failure.code), _plain(cause))
    return Entry(now, *key, "failed", began, None, end.attempts, *about)


def _plain(text: str | None) -> str | None:
    """Return a text from outside as every database can store it: ASCII without controls, and not long."""
    if not text:
        return None
    if text.isascii() and text.isprintable():
        return text[:_LONGEST]
    return ascii(text)[1:-1][:_LONGEST]


def _doubts(key: Key, before: Row, after: Row, began: float | None, now: float) -> list[Entry]:
    """Return that a call is in doubt, or that it was looked up without a result."""
    doubt = after.doubt
    if doubt is None or doubt == before.doubt:
        return []
    again = before.doubt is not None and doubt.lookups > before.doubt.lookups
    what = "looked up" if again else "in doubt"
    return [Entry(now, *key, what, began, doubt.lookup_after, doubt.lookups)]


def lines(entries: Iterable[Entry]) -> str:
    """Return entries as a text: a line for each, its fields but for the key between tabs."""
    return "".join(map(_line, entries))


def _line(entry: Entry) -> str:
    # Some thousand entries are made a second: JSON would take four times as long.
    at, _, _, what, began, due_at, number, backup_id, reason, code, event_id = entry
    start = f"{at:.3f}\t{what}\t{_time(began)}\t{_time(due_at)}\t{'' if number is None else number}"
    text = f"{start}\t{backup_id or ''}\t{reason or ''}\t{code or ''}\t{event_id or ''}"
    return text.rstrip("\t") + "\n"


def backup_end(backup_id: str) -> str:
    """Return what comes after ``began`` in the line of a backup, for the quick path."""
    return f"\t\t\t{_plain(backup_id) or ''}\n"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def entries(key: Key, text: str) -> list[Entry]:
    """Return the entries of a text."""
    if len(text) >= MOST_CHARACTERS:  # its first line may be broken off
        text = text.partition("\n")[2]
    found = (_entry(key, line.split("\t")) for line in text.splitlines())
    return [entry for entry in found if entry is not None]


def _entry(key: Key, fields: list[str]) -> Entry | None:
    try:
        at, what, began, due_at, number, *rest = [*fields, *[""] * (_FIELDS - len(fields))]
        backup_id, reason, code, event_id = [each or None for each in rest]
        return Entry(
            float(at),
            *key,
            what,
            float(began) if began else None,
            float(due_at) if due_at else None,
            int(number) if number else None,
            backup_id,
            reason,
            code,
            event_id,
        )
    except ValueError:
        return None


def waits(waiting: Waiting, now: float) -> str:
    """Return the entry of a message that is delayed."""
    key = (waiting.project_id or "", waiting.snapshot_id or "")
    due = now + waiting.seconds
    return lines([Entry(now, *key, "waiting", None, due, waiting.waits, None, waiting.reason)])


def published(now: float) -> str:
    """Return the entry of an event whose outcome is published."""
    return lines([Entry(now, "", "", "published")])


class Journal:
    """Makes the entries of one transaction, and counts the outcomes among them."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._outcomes: Counter[tuple[str, str, str]] = Counter()

    def changed(self, key: Key, before: Row | None, after: Row) -> str:
        """Return the entries of a change of a row."""
        if before is None and after.token is not None:  # a first claim
            return ""
        found = changes(key, before, after, self._now)
        for each in found:
            if each.what in OUTCOMES:
                self._outcomes[each.project_id, each.what, each.reason or ""] += 1
        return lines(found)

    def count(self, key: Key, what: str) -> None:
        """Count an outcome whose entry the quick path has written."""
        self._outcomes[key.project_id, what, ""] += 1

    def sums(self) -> list[tuple[int, str, str, str, int]]:
        """Return the outcomes: hour since the epoch, project, what, category and how many, in this order."""
        hour = int(self._now // HOUR)
        return [(hour, *key, number) for key, number in sorted(self._outcomes.items())]
