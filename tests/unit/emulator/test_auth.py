"""Tests of the emulator's authentication: tokens and signatures."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest

from infra.emulator.settings import Settings
from infra.emulator.signing import (
    SignatureError,
    SignedRequest,
    canonical_request,
    signature,
    string_to_sign,
    verify,
)
from tests.unit.emulator.world import PROJECT, World

BACKUPS = f"/v2/{PROJECT}/backups"
VECTORS = json.loads((Path(__file__).parents[2] / "data" / "signing-vectors.json").read_text())


def sign_in(world: World, password: str = "secret", project: str = PROJECT) -> Any:
    """Request a token."""
    user = {"name": "demo", "password": password, "domain": {"name": "acme"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": project}}}}
    return world.call("POST", "/v3/auth/tokens", json=body)


def list_status(world: World, token: str, path: str = BACKUPS) -> int:
    """Return the status of a list call with a token."""
    return world.call("GET", path, headers={"X-Auth-Token": token}).status_code


def test_a_token_is_valid_for_its_project_until_it_expires() -> None:
    """A token is accepted for its project, and gets a 401 after it has expired."""
    world = World(Settings(auth="token", token_ttl=10))
    answer = sign_in(world)
    token = answer.headers["X-Subject-Token"]
    assert (201, PROJECT) == (answer.status_code, answer.json()["token"]["project"]["id"])
    assert 200 == list_status(world, token)
    world.clock.now += 10
    assert 401 == list_status(world, token)


def test_the_token_has_its_expiry_in_utc() -> None:
    """The token's expiry is the current time plus its lifetime, and ends in Z."""
    world = World(Settings(token_ttl=10))
    text = sign_in(world).json()["token"]["expires_at"]
    assert (
        world.clock.now + 10
        == datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
    )


def test_a_token_is_not_valid_for_another_project() -> None:
    """A call for another project than the token's gets a 400, as in Cinder."""
    world = World(Settings(auth="token"))
    token = sign_in(world).headers["X-Subject-Token"]
    assert 400 == list_status(world, token, "/v2/another/backups")


def test_a_wrong_password_is_refused() -> None:
    """A wrong password gets a 401, and the call is counted."""
    world = World()
    assert 401 == sign_in(world, password="wrong").status_code
    assert {"token": {"401": 1}} == world.call("GET", "/_emulator/stats").json()


def test_a_token_request_of_another_form_is_refused() -> None:
    """A token request without its fields gets a 400; the emulator guesses none of them."""
    assert 400 == World().call("POST", "/v3/auth/tokens", json={"auth": {}}).status_code


def test_the_fixed_token_is_valid_for_every_project() -> None:
    """The fixed token is valid for every project, also after a reset, which ends issued tokens."""
    world = World(Settings(auth="token", token="fixed"))
    other = sign_in(world).headers["X-Subject-Token"]
    world.call("POST", "/_emulator/reset")
    assert [200, 200, 401] == [
        list_status(world, "fixed"),
        list_status(world, "fixed", "/v2/another/backups"),
        list_status(world, other),
    ]


def vector_request(vector: dict[str, Any]) -> SignedRequest:
    """Return a vector's request as it is sent."""
    path, _, query = vector["wire_uri"].partition("?")
    headers = {
        name.lower(): value for name, value in {**vector["headers"], **vector["extra_headers"]}.items()
    }
    return SignedRequest(vector["method"], path, query, headers, vector["body"].encode())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_vendors_signatures_are_verified(vector: dict[str, Any]) -> None:
    """Canonical request, string to sign and signature equal those that the vendor published."""
    request = vector_request(vector)
    signed = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    canonical = canonical_request(request, signed)
    assert vector["canonical_request"] == canonical
    assert vector["string_to_sign"] == string_to_sign(canonical, request.headers["x-sdk-date"])
    verify(request, {vector["ak"]: vector["sk"]}, seconds_of(request.headers["x-sdk-date"]))


def seconds_of(date: str) -> float:
    """Return the seconds since the epoch of an X-Sdk-Date."""
    return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("off", [-901, 901])
def test_a_date_more_than_15_minutes_off_is_refused(off: float) -> None:
    """A request with a correct signature is refused if its date is more than 15 minutes off."""
    vector = VECTORS[0]
    request = vector_request(vector)
    with pytest.raises(SignatureError, match="15 minutes"):
        verify(request, {vector["ak"]: vector["sk"]}, seconds_of(request.headers["x-sdk-date"]) + off)


def signed_headers(world: World, query: str = "", **changes: str) -> dict[str, str]:
    """Return the headers of a list call signed with the default key, with some changes."""
    date = datetime.fromtimestamp(world.clock.now, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": "127.0.0.1:8776", "x-sdk-date": date}
    request = SignedRequest("GET", BACKUPS, query, headers, b"")
    names = sorted(headers)
    made = signature("emulator-sk", string_to_sign(canonical_request(request, names), date))
    fields = f"Access=emulator-ak, SignedHeaders={';'.join(names)}, Signature={made}"
    return {**headers, "authorization": f"SDK-HMAC-SHA256 {fields}", **changes}


def test_a_signed_call_is_accepted() -> None:
    """A list call with a correct signature and a query is accepted."""
    world = World(Settings(auth="aksk"))
    query = urlencode({"name": "a b"}).replace("+", "%20")
    answer = world.call("GET", f"{BACKUPS}?{query}", headers=signed_headers(world, query))
    assert (200, "a b") == (answer.status_code, unquote(query).partition("=")[2])


def test_a_query_that_was_not_signed_is_refused() -> None:
    """The signature covers the query, so a call with another query gets a 401."""
    world = World(Settings(auth="aksk"))
    answer = world.call("GET", f"{BACKUPS}?name=b", headers=signed_headers(world, "name=a"))
    assert 401 == answer.status_code


@pytest.mark.parametrize(
    "changes",
    [
        {"authorization": ""},
        {"authorization": "Bearer x"},
        {"authorization": "SDK-HMAC-SHA256 Access=nobody, SignedHeaders=x-sdk-date, Signature=0"},
        {"host": "elsewhere"},
        {"x-sdk-date": "20200101T000000Z"},
        {"x-sdk-date": "today"},
    ],
)
def test_a_call_that_is_changed_after_signing_is_refused(changes: dict[str, str]) -> None:
    """A call whose headers differ from the signed ones gets a 401 in the gateway's shape."""
    world = World(Settings(auth="aksk"))
    answer = world.call("GET", BACKUPS, headers=signed_headers(world, **changes))
    assert (401, "APIGW.0301") == (answer.status_code, answer.json()["error_code"])


def test_a_temporary_key_needs_its_security_token() -> None:
    """A call with a temporary key gets a 401 without X-Security-Token and a 200 with it."""
    world = World(Settings(auth="aksk", security_token="temporary"))
    headers = signed_headers(world)
    assert 401 == world.call("GET", BACKUPS, headers=headers).status_code
    headers["x-security-token"] = "temporary"
    assert 200 == world.call("GET", BACKUPS, headers=headers).status_code
