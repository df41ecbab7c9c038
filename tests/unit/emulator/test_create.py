"""Tests of the create call: the page's rules, the check that is not atomic, and no deduplication."""

import pytest

from infra.emulator.settings import Settings
from tests.unit.emulator.world import PROJECT, SNAPSHOT, VOLUME, World

BACKUPS = f"/v2/{PROJECT}/backups"
WANTED = {"volume_id": VOLUME, "snapshot_id": SNAPSHOT}


def test_the_answer_has_id_name_and_links_and_no_status() -> None:
    """The create call gets a 202 in the form that the page documents."""
    answer = World().create(name="backup1", description="Backup_Demo")
    backup = answer.json()["backup"]
    tail = f"{PROJECT}/backups/{backup['id']}"
    links = [
        {"rel": "self", "href": f"http://127.0.0.1:8776/v2/{tail}"},
        {"rel": "bookmark", "href": f"http://127.0.0.1:8776/{tail}"},
    ]
    assert (202, {"id": backup["id"], "name": "backup1", "links": links}) == (answer.status_code, backup)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("name", "", "VolumeBackup.0007"),
        ("name", "n" * 65, "VolumeBackup.0003"),
        ("name", "a b", "VolumeBackup.0004"),
        ("name", "näme", "VolumeBackup.0004"),
        ("name", "line\n", "VolumeBackup.0004"),
        ("name", "automatic", "VolumeBackup.0005"),
        ("description", "d" * 256, "VolumeBackup.0006"),
        ("description", "a < b", "VolumeBackup.0006"),
        ("description", "a > b", "VolumeBackup.0006"),
        ("force", "true", 400),
        ("incremental", 1, 400),
        ("container", 7, 400),
        ("snapshot_id", None, 400),
        ("surprise", 1, 400),
    ],
)
def test_a_request_that_violates_a_rule_of_the_page_is_refused(
    field: str, value: object, code: object
) -> None:
    """Such a request gets a 400 badRequest, with the vendor's code if there is one."""
    answer = World().create(BACKUPS, **{field: value})
    assert (400, code) == (answer.status_code, answer.json()["badRequest"]["code"])


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "n"},
        {"name": "n" * 64},
        {"name": "Auto_-9"},
        {"description": ""},
        {"description": "d" * 255},
        {"container": "reserved", "incremental": True, "force": True, "project_id": PROJECT},
    ],
)
def test_a_request_within_the_rules_of_the_page_is_accepted(fields: dict[str, object]) -> None:
    """A request with a value at the limit of a rule is accepted."""
    assert 202 == World().create(BACKUPS, **fields).status_code


@pytest.mark.parametrize("missing", ["volume_id", "snapshot_id"])
def test_both_ids_are_required(missing: str) -> None:
    """A request without volume_id or snapshot_id is refused, since the page requires both."""
    backup = {name: value for name, value in WANTED.items() if name != missing}
    answer = World().call("POST", BACKUPS, json={"backup": backup})
    assert answer.json()["badRequest"]["message"].endswith(f"'{missing}' is a required property")


@pytest.mark.parametrize("body", [[], {"backup": []}, {"backup": WANTED, "more": 1}])
def test_a_body_of_another_form_is_refused(body: object) -> None:
    """Valid JSON that is not a create request gets a 400."""
    assert 400 == World().call("POST", BACKUPS, json=body).status_code


def test_requests_are_not_deduplicated() -> None:
    """After the first backup has ended, the same request creates a second one."""
    world = World()
    first = world.create(name="same").json()["backup"]["id"]
    world.clock.now += 60
    second = world.create(name="same").json()["backup"]["id"]
    assert {first, second} == set(world.store.backups)
    assert first != second


def test_a_second_request_during_the_first_backup_is_refused() -> None:
    """A request that follows another one is refused while the snapshot is backing-up."""
    world = World(Settings())
    world.create()
    message = world.create().json()["badRequest"]["message"]
    assert message.endswith('but the current status is "backing-up".')


def test_eight_concurrent_requests_create_eight_backups() -> None:
    """The status check is not atomic, as measured with Cinder, so all eight requests succeed."""
    world = World(Settings())
    answers = world.calls([("POST", BACKUPS, {"json": {"backup": WANTED}})] * 8)
    assert [202] * 8 == [answer.status_code for answer in answers]


def test_without_the_race_one_of_eight_concurrent_requests_succeeds() -> None:
    """`race=0` makes the status check atomic, so seven of eight requests are refused."""
    answers = World().calls([("POST", BACKUPS, {"json": {"backup": WANTED}})] * 8)
    assert [202] + [400] * 7 == sorted(answer.status_code for answer in answers)


def test_the_quota_holds_for_concurrent_requests() -> None:
    """A quota is reserved atomically, unlike the snapshot."""
    world = World(Settings(quota_backups=3))
    answers = world.calls([("POST", BACKUPS, {"json": {"backup": WANTED}})] * 8)
    assert [202] * 3 + [413] * 5 == sorted(answer.status_code for answer in answers)


def test_a_deleted_backup_releases_its_quota() -> None:
    """Deleting a backup releases its share of both quotas: backups and gigabytes."""
    world = World(Settings(quota_backups=1, quota_gigabytes=1, race=0))
    made = world.create().json()["backup"]["id"]
    world.clock.now += 60
    assert 413 == world.create().status_code
    assert 202 == world.call("DELETE", f"{BACKUPS}/{made}").status_code
    assert 202 == world.create().status_code


def test_a_backup_becomes_available() -> None:
    """A backup is creating, and its snapshot backing-up, until both become available."""
    world = World(Settings(settle=5, race=0))
    backup = f"{BACKUPS}/{world.create().json()['backup']['id']}"
    snapshot = f"/v2/{PROJECT}/snapshots/{SNAPSHOT}"

    def statuses() -> tuple[str, str]:
        shown = world.call("GET", backup).json()["backup"]["status"]
        return shown, world.call("GET", snapshot).json()["snapshot"]["status"]

    assert ("creating", "backing-up") == statuses()
    world.clock.now += 5
    assert ("available", "available") == statuses()


def test_by_the_page_later_backups_of_a_volume_are_incremental() -> None:
    """The first backup is full and the second incremental, whatever the requests say."""
    world = World()
    world.create(incremental=True)
    world.clock.now += 60
    world.create(incremental=False)
    shown = world.call("GET", f"{BACKUPS}/detail").json()["backups"]
    assert [True, False] == [backup["is_incremental"] for backup in shown]
    assert [False, True] == [backup["has_dependent_backups"] for backup in shown]


def test_a_strict_emulator_knows_declared_snapshots_only() -> None:
    """A create call gets a 404 until the snapshot is declared."""
    world = World(Settings(strict=True))
    assert 404 == world.create().status_code
    declared = {"project_id": PROJECT, "volume_id": VOLUME, "id": SNAPSHOT}
    assert 201 == world.call("POST", "/_emulator/snapshots", json=declared).status_code
    assert 202 == world.create().status_code


def test_a_snapshot_belongs_to_the_volume_of_its_first_request() -> None:
    """A later request for the snapshot with another volume is refused."""
    world = World()
    world.create()
    world.clock.now += 60
    answer = world.create(volume_id=SNAPSHOT)
    assert f"Invalid volume: Volume {SNAPSHOT} does not match" in answer.text


def test_a_snapshot_of_another_project_is_not_found() -> None:
    """A snapshot is visible in its own project only."""
    world = World()
    world.create()
    assert 404 == world.create(path="/v2/another/backups").status_code


@pytest.mark.parametrize("path", ["/v1/p/backups", "/v2/p/backups/", "/v4/", "/v2/p/restores"])
def test_the_404_of_a_wrong_path_differs_from_a_missing_backup(path: str) -> None:
    """A wrong path gets a 404 in the shape of Cinder's outer layers, a missing backup in the API's own."""
    world = World()
    answer, missing = world.call("GET", path), world.call("GET", f"{BACKUPS}/{SNAPSHOT}")
    assert (404, "404 Not Found") == (answer.status_code, answer.json()["code"])
    assert (404, {"itemNotFound"}) == (missing.status_code, set(missing.json()))


def test_a_wrong_method_is_refused() -> None:
    """A call with a wrong method gets a 405 in Cinder's shape."""
    answer = World().call("PATCH", BACKUPS)
    assert (405, {"badMethod"}) == (answer.status_code, set(answer.json()))
