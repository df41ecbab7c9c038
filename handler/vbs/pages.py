"""Pages of the list of backups: parse one, find the next one, select the backups of a snapshot."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from handler.backup.ports import Backup
from handler.vbs import answers
from handler.vbs.answers import is_uuid, plain
from handler.vbs.transport.body import Unreadable, parse_json

PAGE_SIZE = 100
"""Backups requested per page: Cinder returns at most 1,000, VBS keeps 20 of a volume."""

Cursor = Mapping[str, str]
"""``marker`` and ``offset`` of a page, if the API uses them."""


class Page(NamedTuple):
    """One page, and the cursor of the next one."""

    backups: Sequence[Backup]
    next: Cursor | None


def read_page(body: bytes) -> Page:
    """Parse a page. Raises ``Unreadable`` if any item is not a backup: an absence must be certain."""
    document = parse_json(body)
    raws = document.get("backups") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(raws, list):
        raise Unreadable("the answer has no list of backups")
    if not all(isinstance(raw, dict) for raw in raws):
        raise Unreadable("the list of backups has an item that is not an object")
    backups = [answers.backup(raw) for raw in raws]
    return Page(backups, _cursor_of_link(document.get("backups_links")) or _cursor_of_full_page(backups))


def _cursor_of_link(links: object) -> Cursor | None:
    """Return the cursor in the query of the next link; its host is ignored, since it may be any host."""
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            return _cursor(link.get("href"))
    return None


def _cursor(href: object) -> Cursor:
    try:
        query = parse_qsl(urlsplit(href).query) if isinstance(href, str) else []
    except ValueError:
        query = []
    cursor = {name: value for name, value in query if _usable(name, value)}
    if not cursor:
        raise Unreadable("the link to the next page has neither marker nor offset")
    return cursor


def _usable(name: str, value: str) -> bool:
    is_offset = name == "offset" and value.isascii() and value.isdigit() and len(value) < 10
    return is_offset or (name == "marker" and is_uuid(value))


def _cursor_of_full_page(backups: Sequence[Backup]) -> Cursor | None:
    """Assume a next page after a full page without a link: a backup that is missed would be made twice."""
    return {"marker": backups[-1].id} if len(backups) == PAGE_SIZE else None


def belongs(backup: Backup, snapshot_id: str, name: str) -> bool:
    """Return whether a backup is of this snapshot: by its snapshot id, else by our deterministic name."""
    if backup.snapshot_id is not None:
        return plain(backup.snapshot_id) == plain(snapshot_id)
    return backup.detail.name == name and plain(snapshot_id) in plain(name)


def age(backup: Backup) -> tuple[bool, str, str]:
    """Return the sort key, oldest first; a backup without a time is last, since it may be the newest."""
    return backup.detail.created_at is None, backup.detail.created_at or "", backup.id
