"""Tests of the emulator's list calls: filters, pages and order."""

from urllib.parse import urlsplit

import pytest

from tests.unit.emulator.world import NOW, PROJECT, VOLUME, World, stored_backup

BACKUPS = f"/v3/{PROJECT}/backups"


def world_with(count: int) -> World:
    """Return a world with numbered backups, 0 the oldest; odd ones are of another volume."""
    world = World()
    for number in range(count):
        volume_id = "odd" if number % 2 else VOLUME
        facts = {"name": f"n{number}", "size": count - number, "created_at": NOW - 1000 + number}
        world.store.add(stored_backup(id=str(number), volume_id=volume_id, **facts))
    return world


def ids(world: World, query: str) -> list[str]:
    """Return the ids of a query's backups."""
    return [backup["id"] for backup in world.call("GET", f"{BACKUPS}?{query}").json()["backups"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("limit=3", "6543210"), ("limit=2&offset=1", "543210"), ("limit=4&marker=5", "43210")],
)
def test_following_the_links_gives_each_backup_once_newest_first(query: str, expected: str) -> None:
    """Pages neither overlap nor omit a backup, wherever they begin."""
    world = world_with(7)
    seen: list[str] = []
    path = f"{BACKUPS}?{query}"
    while path:
        body = world.call("GET", path).json()
        seen += [backup["id"] for backup in body["backups"]]
        path = next(
            (
                f"{BACKUPS}?{urlsplit(connection['href']).query}"
                for connection in body.get("backups_links", [])
            ),
            "",
        )
    assert [*expected] == seen


def test_a_page_that_is_not_full_has_no_link() -> None:
    """The last page, which is not full, has no link to a next page."""
    assert "backups_links" not in world_with(2).call("GET", f"{BACKUPS}?limit=3").json()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"volume_id={VOLUME}", ["2", "0"]),
        ("name=n1", ["1"]),
        ("name=n1&volume_id=nobody", []),
        ("status=available", ["3", "2", "1", "0"]),
        ("status=creating", []),
        ("offset=1&limit=2", ["2", "1"]),
        ("marker=2", ["1", "0"]),
        ("limit=0", []),
        ("sort=created_at:asc", ["0", "1", "2", "3"]),
        ("sort_key=size&sort_dir=asc", ["3", "2", "1", "0"]),
        ("sort=status:asc,name:desc", ["3", "2", "1", "0"]),
        ("snapshot_id=ignored", ["3", "2", "1", "0"]),
    ],
)
def test_a_query_filters_and_sorts(query: str, expected: list[str]) -> None:
    """Filters are exact; unknown filters are ignored."""
    assert expected == ids(world_with(4), query)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=-1", 400),
        ("limit=x", 400),
        ("offset=-1", 400),
        ("marker=nobody", 404),
        ("sort=colour", 400),
        ("sort=id:up", 400),
        ("sort=id&sort_key=id", 400),
    ],
)
def test_an_invalid_query_is_refused(query: str, status: int) -> None:
    """A query with an invalid value gets an error; the emulator replaces no value."""
    assert status == world_with(1).call("GET", f"{BACKUPS}?{query}").status_code


def test_a_page_has_at_most_1000_backups() -> None:
    """A limit above 1000 is reduced to 1000, as by Cinder's osapi_max_limit."""
    assert 1000 == len(ids(world_with(1001), "limit=5000"))


def test_another_projects_list_is_empty() -> None:
    """A list contains the backups of one project."""
    assert [] == world_with(2).call("GET", "/v3/another/backups").json()["backups"]


def test_newer_microversions_refuse_unknown_filters_and_return_a_count() -> None:
    """Filters are refused from 3.31, and the count is returned from 3.45."""
    world = world_with(3)
    headers = {"OpenStack-API-Version": "volume 3.45"}
    assert 400 == world.call("GET", f"{BACKUPS}?snapshot_id=x", headers=headers).status_code
    assert 3 == world.call("GET", f"{BACKUPS}?with_count=true&limit=1", headers=headers).json()["count"]


def test_an_unknown_microversion_is_refused() -> None:
    """A call with an unknown microversion gets a 406, as in Cinder."""
    headers = {"OpenStack-API-Version": "volume 3.999"}
    assert 406 == World().call("GET", BACKUPS, headers=headers).status_code
