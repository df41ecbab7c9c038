"""The detailed list: where its next page is, and which of its backups are a snapshot's."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from handler.backup.ports import Backup
from handler.vbs import answers
from handler.vbs.answers import is_uuid, plain
from handler.vbs.transport.body import Unreadable, parse_json

PAGE_SIZE = 100
"""Backups per page that we ask for: Cinder gives 1,000 at most, VBS keeps 20 of a volume."""

Cursor = Mapping[str, str]
"""``marker`` and ``offset``, as far as the API uses them."""


class Page(NamedTuple):
    """One page, and the cursor of the one that follows."""

    backups: Sequence[Backup]
    following: Cursor | None


def read_page(body: bytes) -> Page:
    """Read a page. Raises ``Unreadable`` where anything in it is no backup: absence must be certain."""
    document = parse_json(body)
    raws = document.get("backups") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(raws, list):
        raise Unreadable("the answer has no backups")
    if not all(isinstance(raw, dict) for raw in raws):
        raise Unreadable("the list of backups holds something else")
    backups = [answers.backup(raw) for raw in raws]
    return Page(backups, _linked(document.get("backups_links")) or _assumed(backups))


def _linked(links: object) -> Cursor | None:
    """Take the cursor from the link's query; the rest of the link names hosts that are not ours to call."""
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


def _assumed(backups: Sequence[Backup]) -> Cursor | None:
    """Ask on after a page that is exactly full although no link says so: a backup missed is made twice."""
    return {"marker": backups[-1].id} if len(backups) == PAGE_SIZE else None


def belongs(backup: Backup, snapshot_id: str, name: str) -> bool:
    """Tell whether a backup is of this snapshot: by the id it shows, else by our deterministic name."""
    if backup.snapshot_id is not None:
        return plain(backup.snapshot_id) == plain(snapshot_id)
    return backup.detail.name == name and plain(snapshot_id) in plain(name)


def is_parent(backup: Backup, volume_id: str) -> bool:
    """Tell whether an incremental backup of the volume can build on this one."""
    full = backup.detail.is_incremental is False and backup.status == "available"
    return full and backup.volume_id is not None and plain(backup.volume_id) == plain(volume_id)


def age(backup: Backup) -> tuple[bool, str, str]:
    """Sort key, oldest first; one without a time comes last, since it may be the newest."""
    return backup.detail.created_at is None, backup.detail.created_at or "", backup.id
