"""The emulator's choice of an incremental backup's parent, as in cinder/backup/api.py."""

import pytest

from infra.emulator.settings import Settings
from tests.unit.emulator.world import NOW, PROJECT, World, stored_backup, stored_snapshot

NO_PARENT = "Invalid backup: No backups available to do an incremental backup."
UNAVAILABLE = "Invalid backup: The parent backup must be available for incremental backup."
OLD, NEW = 64, 71


def world(*backups: dict[str, object], microversion: int) -> World:
    """Return a world with Cinder's rules, earlier backups, and a snapshot that was made at ``NOW - 99``."""
    world = World(Settings(race=0, rules="cinder", microversion=microversion))
    world.store.declare(stored_snapshot())
    for number, facts in enumerate(backups):
        world.store.add(stored_backup(id=f"b{number}", **facts))
    return world


def parent(world: World) -> str | None:
    """Ask for an incremental backup; return its parent's id, or the refusal's text."""
    answer = world.create(f"/v3/{PROJECT}/backups", incremental=True)
    if answer.status_code == 400:
        text: str = answer.json()["badRequest"]["message"]
        return text
    made = world.store.backups[answer.json()["backup"]["id"]].parent
    return made.id if made else None


def taken(seconds: float, **facts: object) -> dict[str, object]:
    """Return the facts of a backup whose data is so many seconds older than the snapshot's."""
    return {"data_timestamp": NOW - 99 - seconds, **facts}


CREATING = {"ends_at": NOW + 60}
IN_ERROR = {"fail_reason": "no space"}


@pytest.mark.parametrize("microversion", [OLD, NEW])
@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ([], NO_PARENT),
        ([taken(20), taken(10), taken(30)], "b1"),
        ([taken(20), taken(-10)], "b0"),
        ([taken(-10)], "b0"),
    ],
)
def test_the_parent_has_the_newest_data_before_the_snapshot(
    microversion: int, backups: list[dict[str, object]], expected: str
) -> None:
    """Data that is newer than the snapshot's does not count, unless there is no other."""
    assert expected == parent(world(*backups, microversion=microversion))


@pytest.mark.parametrize("status", [CREATING, IN_ERROR])
@pytest.mark.parametrize(
    ("microversion", "earlier", "expected"),
    [(OLD, [taken(20)], UNAVAILABLE), (NEW, [taken(20)], "b0"), (OLD, [], UNAVAILABLE), (NEW, [], NO_PARENT)],
)
def test_what_is_not_available_is_no_parent(
    microversion: int, earlier: list[dict[str, object]], expected: str, status: dict[str, object]
) -> None:
    """Releases of today pass over a backup that is not available; older ones refuse."""
    assert expected == parent(world(*earlier, taken(10, **status), microversion=microversion))
