"""Tests of the emulator's token request, in each way in which Keystone lets sign in."""

from typing import Any

import pytest

from infra.emulator.keystone import id_of
from infra.emulator.settings import Settings
from tests.unit.emulator.world import PROJECT, World

SETTINGS = Settings(auth="token", domain="acme", project_id=PROJECT)
DOMAIN = {"name": "acme"}
USER = {"name": "demo", "domain": DOMAIN, "password": "secret"}
SCOPE = {"project": {"name": "production", "domain": DOMAIN}}
SECRET = {"secret": "emulator-credential-secret"}
OWNER = {"user": {"name": "demo", "domain": DOMAIN}}
REFUSED = "The request you have made requires authentication."


def request(method: str, proof: object, scope: object = None) -> dict[str, Any]:
    """Return the body of a token request."""
    return {"auth": {"identity": {"methods": [method], method: proof}, **({"scope": scope} if scope else {})}}


def answer(body: object) -> Any:
    """Return the answer of an emulator with one domain."""
    return World(SETTINGS).call("POST", "/v3/auth/tokens", json=body)


@pytest.mark.parametrize(
    "body",
    [
        request("password", {"user": USER}, SCOPE),
        request("password", {"user": {**USER, "domain": {"id": id_of("acme")}}}, SCOPE),
        request("password", {"user": {"id": id_of("demo"), "password": "secret"}}, SCOPE),
        request("password", {"user": USER}, {"project": {"id": PROJECT}}),
        request("password", {"user": USER}, {"OS-TRUST:trust": {"id": "t"}}),
        request("password", {"user": USER}),
        request("application_credential", {"id": "emulator-credential", **SECRET}),
        request("application_credential", {"name": "backup", **OWNER, **SECRET}),
        request("application_credential", {"name": "backup", "user": {"id": id_of("demo")}, **SECRET}),
    ],
)
def test_a_right_account_gets_a_token_of_its_project(body: object) -> None:
    """The answer has the project, and the addresses of its services."""
    given = answer(body)
    token = given.json()["token"]

    assert (201, PROJECT) == (given.status_code, token["project"]["id"])
    assert ["volumev2", "volumev3"] == [service["type"] for service in token["catalog"]]
    assert token["catalog"][1]["endpoints"][0]["url"].endswith(f"/v3/{PROJECT}")


@pytest.mark.parametrize("scope", [{"domain": DOMAIN}, {"system": {"all": True}}, "unscoped"])
def test_a_token_without_a_project_is_valid_for_none(scope: object) -> None:
    """A token of a domain has no project, no services with a project in their URL, and opens no project."""
    world = World(SETTINGS)
    given = world.call("POST", "/v3/auth/tokens", json=request("password", {"user": USER}, scope))
    headers = {"X-Auth-Token": given.headers["X-Subject-Token"]}

    assert ("project" in given.json()["token"], given.json()["token"]["catalog"]) == (False, [])
    assert 400 == world.call("GET", f"/v2/{PROJECT}/backups", headers=headers).status_code


def test_a_token_signs_in_again() -> None:
    """A token is exchanged for another one, and an unknown one is refused."""
    world = World(SETTINGS)
    first = world.call("POST", "/v3/auth/tokens", json=request("password", {"user": USER}, SCOPE))
    again = request("token", {"id": first.headers["X-Subject-Token"]}, SCOPE)

    assert 201 == world.call("POST", "/v3/auth/tokens", json=again).status_code
    assert 401 == world.call("POST", "/v3/auth/tokens", json=request("token", {"id": "t"})).status_code


def test_the_catalogue_is_left_out_on_demand() -> None:
    """`?nocatalog` leaves the services out of the answer."""
    body = request("password", {"user": USER}, SCOPE)

    assert "catalog" not in World().call("POST", "/v3/auth/tokens?nocatalog", json=body).json()["token"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (request("password", {"user": {**USER, "password": "x"}}, SCOPE), 401, REFUSED),
        (request("password", {"user": {**USER, "name": "x"}}, SCOPE), 401, REFUSED),
        (request("password", {"user": {**USER, "domain": {"name": "Default"}}}, SCOPE), 401, REFUSED),
        (request("password", {"user": {"id": "x", "password": "secret"}}, SCOPE), 401, REFUSED),
        (
            request("password", {"user": USER}, {"project": {"name": "p", "domain": {"id": "x"}}}),
            401,
            REFUSED,
        ),
        (request("password", {"user": {"name": "demo", "password": "secret"}}, SCOPE), 400, "find domain in"),
        (request("password", {"user": USER}, {"project": {"name": "production"}}), 400, "find domain in"),
        (request("password", USER, SCOPE), 400, "find user in"),
        (request("totp", {}), 401, "Attempted to authenticate with an unsupported method."),
        ({"auth": {"identity": {"methods": []}}}, 400, "find methods in identity"),
        ({"auth": {}}, 400, "find identity in"),
        ([], 400, "find auth in"),
        (
            request("application_credential", {"id": "x", **SECRET}),
            404,
            "Could not find Application Credential: x.",
        ),
        (
            request("application_credential", {"name": "x", **OWNER, **SECRET}),
            404,
            "Could not find Application Credential: x.",
        ),
        (request("application_credential", {"id": "emulator-credential", "secret": "x"}), 401, REFUSED),
        (request("application_credential", {"name": "backup", **SECRET}), 400, "find user in"),
        (
            request("application_credential", {"id": "emulator-credential", **SECRET}, SCOPE),
            401,
            "Application credentials cannot request a scope.",
        ),
    ],
)
def test_a_wrong_account_is_refused_in_keystones_form(body: object, status: int, message: str) -> None:
    """Status, title and message are Keystone's."""
    given = answer(body)
    error = given.json()["error"]

    assert (status, status) == (given.status_code, error["code"])
    assert message in error["message"]
    assert {400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}[status] == error["title"]
