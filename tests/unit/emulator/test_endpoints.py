"""Tests of the emulator's endpoints: a path before the version, versions that are gone, an EVS host."""

import pytest

from infra.emulator.settings import Settings
from tests.unit.emulator.world import PROJECT, SNAPSHOT, World

SIGN_IN = {
    "auth": {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": "demo", "password": "secret", "domain": {"name": "Default"}}},
        },
        "scope": {"project": {"id": PROJECT}},
    }
}


@pytest.mark.parametrize(
    ("versions", "named"), [("both", ["v2.0", "v3.0"]), ("v3", ["v3.0"]), ("v2", ["v2.0"])]
)
def test_the_root_names_the_versions(versions: str, named: list[str]) -> None:
    """As Cinder's root it answers 300 without a sign-in, and only these versions exist."""
    world = World(Settings(race=0, versions=versions, path="/volume", auth="token"))  # type: ignore[arg-type] # one of three
    answer = world.call("GET", "/volume/")
    assert (300, named) == (answer.status_code, [each["id"] for each in answer.json()["versions"]])
    statuses = {
        each: world.call("GET", f"/volume/{each}/{PROJECT}/backups").status_code for each in ("v2", "v3")
    }
    assert {each for each, status in statuses.items() if status == 401} == {each[:2] for each in named}


def test_a_path_is_before_every_call_and_link() -> None:
    """Without the path there is no API."""
    world = World(Settings(race=0, path="/volume"))
    made = world.create(f"/volume/v2/{PROJECT}/backups")
    assert 202 == made.status_code
    assert made.json()["backup"]["links"][0]["href"].startswith("http://127.0.0.1:8776/volume/v2/")
    assert 404 == world.create().status_code


def test_an_evs_path_shows_the_snapshots_alone() -> None:
    """Beside the backups the gateway's 404 answers, and EVS knows no backups."""
    world = World(Settings(race=0, evs_path="/evs"))
    shown = world.call("GET", f"/evs/v2/{PROJECT}/snapshots/{SNAPSHOT}")
    missing = world.call("GET", f"/v2/{PROJECT}/snapshots/{SNAPSHOT}")
    assert (200, 404, "APIGW.0101") == (shown.status_code, missing.status_code, missing.json()["error_code"])
    assert 404 == world.call("GET", f"/evs/v2/{PROJECT}/backups").status_code


@pytest.mark.parametrize(
    ("evs_path", "urls"),
    [
        (None, {"volumev2": "/volume/v2", "volumev3": "/volume/v3"}),
        ("/evs", {"vbs": "/volume/v2", "evs": "/evs/v2", "volumev2": "/evs/v2", "volumev3": "/evs/v3"}),
    ],
)
def test_the_catalogue_names_the_endpoints(evs_path: str | None, urls: dict[str, str]) -> None:
    """It is Cinder's, or with an EVS path that of Huawei's clouds."""
    world = World(Settings(race=0, path="/volume", evs_path=evs_path))
    token = world.call("POST", "/v3/auth/tokens", json=SIGN_IN).json()["token"]
    found = {each["type"]: each["endpoints"][0]["url"] for each in token["catalog"]}
    assert {kind: f"http://127.0.0.1:8776{path}/{PROJECT}" for kind, path in urls.items()} == found


def test_a_fault_can_be_of_one_endpoint() -> None:
    """A fault with a path affects no call of another endpoint."""
    world = World(Settings(race=0, evs_path="/evs"))
    fault = {"route": "*", "path": "/evs", "effect": "status", "status": 503}
    assert 204 >= world.call("PUT", "/_emulator/faults", json=[fault]).status_code
    paths = (f"/evs/v2/{PROJECT}/snapshots/{SNAPSHOT}", f"/v2/{PROJECT}/backups")
    assert [503, 200] == [world.call("GET", path).status_code for path in paths]
