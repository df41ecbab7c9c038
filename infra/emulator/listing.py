"""Lists of backups: filters, order, pages and the link to the next page (cinder/api/common.py)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import dropwhile, islice
from urllib.parse import urlencode

from infra.emulator.answers import bad_request, not_found
from infra.emulator.store import Backup, Store

MAX_LIMIT = 1000  # osapi_max_limit
FILTERS = ("name", "status", "volume_id")  # etc/cinder/resource_filters.json
PAGING = ("limit", "offset", "marker", "sort", "sort_key", "sort_dir", "with_count", "all_tenants")
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
STRICT_FILTERS_FROM = (3, 31)


@dataclass(frozen=True, slots=True)
class Page:
    """One page; `next_query` is the query string of the next page, `count` the number of all matches."""

    backups: list[Backup]
    next_query: str | None
    count: int | None = None


def list_backups(
    store: Store, project_id: str, query: Mapping[str, str], microversion: tuple[int, int]
) -> Page:
    """Return the page for a query. Raises ApiError (400 for a bad query, 404 for an unknown marker)."""
    _refuse_unknown_filters(query, microversion)
    limit = _number(query, "limit", MAX_LIMIT)
    offset = _number(query, "offset", 0)
    matching = _sorted(_matching(store, project_id, query), query, store.clock())
    count = None
    if query.get("with_count", "").lower() == "true" and microversion >= (3, 45):
        matching = list(matching)
        count = len(matching)
    if marker := query.get("marker"):
        matching = _after(matching, marker)
    page = list(islice(matching, offset, offset + min(limit, MAX_LIMIT)))
    return Page(page, _next_query(query, page, min(limit, MAX_LIMIT)), count)


def _refuse_unknown_filters(query: Mapping[str, str], microversion: tuple[int, int]) -> None:
    """Raise ApiError for an unknown filter from microversion 3.31; below, Cinder ignores it (measured)."""
    unknown = [name for name in query if name not in FILTERS + PAGING]
    if unknown and microversion >= STRICT_FILTERS_FROM:
        raise bad_request(f"Invalid filters {', '.join(unknown)} are found in query options.")


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise bad_request(f"{name} param must be an integer") from None
    if number < 0:
        raise bad_request(f"{name} param must be positive")
    return number


def _matching(store: Store, project_id: str, query: Mapping[str, str]) -> Iterable[Backup]:
    found: Iterable[Backup] = store.newest_first(project_id, query.get("volume_id"))
    if (name := query.get("name")) is not None:
        found = (backup for backup in found if backup.name == name)
    if (status := query.get("status")) is not None:
        now = store.clock()
        found = (backup for backup in found if backup.status_at(now) == status)
    return found


def _sorted(found: Iterable[Backup], query: Mapping[str, str], now: float) -> Iterable[Backup]:
    """Sort by `sort` (key:direction, …) or by `sort_key` and `sort_dir`; the default is newest first."""
    if "sort" not in query and "sort_key" not in query and "sort_dir" not in query:
        return found
    ordered = list(found)
    for key, direction in reversed(_sort_order(query)):
        ordered.sort(key=lambda backup: _sort_value(backup, key, now), reverse=direction == "desc")
    return ordered


def _sort_order(query: Mapping[str, str]) -> list[tuple[str, str]]:
    if "sort" not in query:
        order = [(query.get("sort_key", "created_at"), query.get("sort_dir", "desc"))]
    elif "sort_key" in query or "sort_dir" in query:
        raise bad_request(
            "The 'sort_key' and 'sort_dir' parameters cannot be used with the 'sort' parameter."
        )
    else:
        parts = (part.strip().partition(":") for part in query["sort"].split(","))
        order = [(key, direction or "desc") for key, _, direction in parts]
    for key, direction in order:
        if key not in SORT_KEYS:
            raise bad_request(f"sort_key attribute {key} is not valid")
        if direction not in ("asc", "desc"):
            raise bad_request(f"Unknown sort direction, must be one of: asc, desc. Got: {direction}")
    return order


def _sort_value(backup: Backup, key: str, now: float) -> tuple[bool, str | float]:
    """Return the sort value of a backup; None sorts before any value."""
    values: Mapping[str, str | float | None] = {
        "name": backup.name,
        "status": backup.status_at(now),
        "size": backup.size,
        "id": backup.id,
        "created_at": backup.created_at,
        "updated_at": backup.ends_at if backup.ends_at <= now else None,
    }
    value = values.get(key)
    return (False, 0) if value is None else (True, value)


def _after(found: Iterable[Backup], marker: str) -> Iterable[Backup]:
    rest = dropwhile(lambda backup: backup.id != marker, found)
    if next(rest, None) is None:
        raise not_found("Backup", marker)
    return rest


def _next_query(query: Mapping[str, str], page: list[Backup], limit: int) -> str | None:
    """Return the next page's query if this page is full, as in Cinder; the marker replaces the offset."""
    if not page or len(page) < limit:
        return None
    kept = {name: value for name, value in query.items() if name not in ("marker", "offset")}
    return urlencode({**kept, "marker": page[-1].id})
