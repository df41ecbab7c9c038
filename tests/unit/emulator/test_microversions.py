"""The emulator's microversions: the version document, metadata from 3.43 and the zone from 3.51."""

import httpx
import pytest

from infra.emulator.settings import Settings
from tests.unit.emulator.world import PROJECT, World

BACKUPS = f"/v3/{PROJECT}/backups"
METADATA = {"policy": "gold", "a:b/c d-e_f.g": ""}


def world(**settings: object) -> World:
    """Return a world with Cinder's rules."""
    return World(Settings(race=0, rules="cinder", **settings))  # type: ignore[arg-type] # checked by the dataclass's use


def create(world: World, minor: int | None, **fields: object) -> httpx.Response:
    """Ask for a backup with this microversion."""
    backup = {"volume_id": "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40", **fields}
    return world.call("POST", BACKUPS, json={"backup": backup}, headers=version(minor))


def version(minor: int | None) -> dict[str, str]:
    """Return the header of a microversion."""
    return {} if minor is None else {"OpenStack-API-Version": f"volume 3.{minor}"}


def test_the_version_document_tells_the_newest_microversion() -> None:
    """`/v3/` answers as Cinder does; by the page's rules there is no such path."""
    answer = world(microversion=71).call("GET", "/v3/")
    (told,) = answer.json()["versions"]
    assert (200, "v3.0", "3.71", "3.0") == (
        answer.status_code,
        told["id"],
        told["version"],
        told["min_version"],
    )
    assert 404 == World().call("GET", "/v3/").status_code


def test_the_version_document_needs_a_sign_in() -> None:
    """Behind Keystone the document is read with a token."""
    signed = world(auth="token", token="t")
    assert 401 == signed.call("GET", "/v3/").status_code
    assert 200 == signed.call("GET", "/v3/", headers={"X-Auth-Token": "t"}).status_code


@pytest.mark.parametrize(
    ("minor", "fields", "status"),
    [
        (None, {"metadata": METADATA}, 400),
        (42, {"metadata": METADATA}, 400),
        (43, {"metadata": METADATA}, 202),
        (43, {"metadata": None}, 202),
        (50, {"availability_zone": "az-2"}, 400),
        (51, {"availability_zone": "az-2", "metadata": METADATA}, 202),
        (51, {"availability_zone": "z" * 256}, 400),
        (43, {"metadata": {"k" * 255: "x" * 255}}, 202),
        (43, {"metadata": {"k" * 256: "x"}}, 400),
        (43, {"metadata": {"k": "x" * 256}}, 400),
        (43, {"metadata": {"": "x"}}, 400),
        (43, {"metadata": {"k": 7}}, 400),
        (43, {"metadata": {"k,l": "x"}}, 400),
        (43, {"metadata": ["k"]}, 400),
        (65, {}, 406),
    ],
)
def test_fields_belong_to_microversions(minor: int | None, fields: dict[str, object], status: int) -> None:
    """A field is refused before its microversion, and checked from then on."""
    assert status == create(world(), minor, **fields).status_code


def test_metadata_is_shown_from_3_43() -> None:
    """Show and detail have metadata only for a call with that microversion, and the zone always."""
    made = world()
    backup_id = create(made, 51, metadata=METADATA, availability_zone="az-2").json()["backup"]["id"]
    for path in (f"{BACKUPS}/{backup_id}", f"{BACKUPS}/detail"):
        old, new = (made.call("GET", path, headers=version(minor)).json() for minor in (42, 43))
        (before, after) = (each["backup"] if "backup" in each else each["backups"][0] for each in (old, new))
        assert "metadata" not in before
        assert ("az-2", METADATA) == (before["availability_zone"], after["metadata"])


def test_the_pages_rules_know_no_microversion() -> None:
    """By the page metadata is an unknown key, whatever the header says."""
    page = World()
    answer = page.call(
        "POST", BACKUPS, json={"backup": {"volume_id": "x", "metadata": {}}}, headers=version(43)
    )
    assert 400 == answer.status_code
