"""Tests of each sign-in over a socket, against an emulator that checks it independently."""

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from events.outcome import Category
from handler.backup.request import BackupRequest
from handler.errors import ApiError
from handler.settings import Settings
from handler.vbs.auth.choose import choose_auth, select_sign_in
from handler.vbs.client import VbsClient
from handler.vbs.transport import http
from handler.vbs.transport.http import http_client
from infra.emulator.keystone import id_of
from infra.emulator.testing import Emulator, running_emulator
from tests.oracle import imported
from tests.tls import make_certificate, tls_front

PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
REQUEST = BackupRequest(
    volume_id="0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40",
    snapshot_id="b7d05a1e-4f26-4b7d-8c35-19e2a6c0d4f8",
    name="nightly",
)
PASSWORD = {"os_username": "demo", "os_password": "secret", "os_project_id": PROJECT}
KEYS = {"huaweicloud_sdk_ak": "emulator-ak", "huaweicloud_sdk_sk": "emulator-sk"}


def _create(emulator: Emulator, times: int, **sign_in: Any) -> list[object]:
    """Make ``times`` concurrent creates; return backups and errors."""

    async def run() -> list[object]:
        given = {"vbs_endpoint": emulator.url, **sign_in}
        settings = Settings(_env_file=None, concurrency=8, **given)
        chosen = select_sign_in(settings)
        client = http_client(settings, chosen.tls, chosen.auth_url)
        auth = choose_auth(settings, client, sign_in=chosen)
        api = VbsClient(client, str(settings.vbs_endpoint), auth=auth)
        try:
            creates = (api.create(PROJECT, REQUEST) for _ in range(times))
            return list(await asyncio.gather(*creates, return_exceptions=True))
        finally:
            await api.aclose()

    return asyncio.run(run())


def test_64_calls_over_8_connections_share_one_renewal() -> None:
    """If 64 calls find the token invalid, one of them renews it, and the API answers all of them."""

    async def run(emulator: Emulator) -> list[object]:
        settings = Settings(
            _env_file=None,
            vbs_endpoint=emulator.url,
            vbs_timeout=5,
            os_auth_url=emulator.url,
            **PASSWORD,  # type: ignore[arg-type] # parsed by pydantic
        )
        client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=8), timeout=5)
        api = VbsClient(client, emulator.url, auth=choose_auth(settings, client))
        try:
            await api.create(PROJECT, REQUEST)
            emulator.reset()  # makes all tokens invalid
            creates = (api.create(PROJECT, REQUEST) for _ in range(64))
            return list(await asyncio.gather(*creates, return_exceptions=True))
        finally:
            await api.aclose()

    with running_emulator(auth="token") as emulator:
        ends = asyncio.run(run(emulator))
        unanswered = [e for e in ends if isinstance(e, ApiError) and e.status is None]
        assert ([], 1) == (unanswered, sum(emulator.stats()["token"].values()))


def test_a_signed_request_is_accepted() -> None:
    """The emulator accepts a signed request, which it verifies with its own implementation."""
    with running_emulator(auth="aksk") as emulator:
        (accepted,) = _create(emulator, 1, **KEYS)
        assert [emulator.backups()[0]["id"]] == [getattr(accepted, "id", accepted)]


@pytest.mark.parametrize(
    ("auth", "sign_in"),
    [
        ("token", {"os_token": "wrong"}),
        ("aksk", {**KEYS, "huaweicloud_sdk_sk": "wrong"}),
        ("token", {}),
    ],
)
def test_a_wrong_sign_in_is_denied(auth: str, sign_in: dict[str, str]) -> None:
    """A wrong sign-in of each kind gets a 401, and no backup is made."""
    with running_emulator(auth=auth) as emulator:
        (error,) = _create(emulator, 1, **sign_in)
        assert isinstance(error, ApiError)
        assert (Category.DENIED, 401, []) == (error.category, error.status, emulator.backups())


CLOUDS = """
clouds:
  password:
    auth: {{auth_url: "{url}", username: demo, password: secret, project_name: p, user_domain_id: {acme},
      project_domain_name: acme}}
  credential:
    auth_type: v3applicationcredential
    auth: {{auth_url: "{url}", application_credential_id: emulator-credential}}
"""
SECURE = "clouds: {credential: {auth: {application_credential_secret: emulator-credential-secret}}}"
WAYS = {
    "password": {
        "os_username": "demo",
        "os_password": "secret",
        "os_user_domain_name": "acme",
        "os_project_name": "production",
    },
    "password, by ids": {
        "os_user_id": id_of("demo"),
        "os_password": "secret",
        "os_project_id": PROJECT,
    },
    "password, by a domain's id": {
        "os_username": "demo",
        "os_password": "secret",
        "os_user_domain_id": id_of("acme"),
        "os_project_id": PROJECT,
    },
    "the domain": {
        "os_username": "demo",
        "os_password": "secret",
        "os_user_domain_name": "acme",
        "os_domain_name": "acme",
    },
    "application credential": {
        "os_auth_type": "v3applicationcredential",
        "os_application_credential_id": "emulator-credential",
        "os_application_credential_secret": "emulator-credential-secret",
    },
    "application credential, by name": {
        "vbs_auth": "application_credential",
        "os_application_credential_name": "backup",
        "os_application_credential_secret": "emulator-credential-secret",
        "os_username": "demo",
        "os_user_domain_name": "acme",
    },
    "application credential, by name and user id": {
        "vbs_auth": "application_credential",
        "os_application_credential_name": "backup",
        "os_application_credential_secret": "emulator-credential-secret",
        "os_user_id": id_of("demo"),
    },
}


@pytest.fixture(scope="module")
def acme() -> Iterator[Emulator]:
    """Run an API whose account is in the domain acme."""
    with running_emulator(auth="token", domain="acme", project_id=PROJECT) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_keystone_signs_in(way: str, acme: Emulator) -> None:
    """A backup is made with a token of each way, over a socket."""
    acme.reset()
    (accepted,) = _create(acme, 1, os_auth_url=acme.url, **WAYS[way])

    assert [backup["id"] for backup in acme.backups()] == [getattr(accepted, "id", accepted)]


@pytest.mark.parametrize(
    ("way", "wrong"),
    [
        ("password, by ids", {"os_password": "wrong"}),
        ("password, by a domain's id", {"os_user_domain_id": "default"}),
        ("password, by ids", {"os_user_id": "wrong"}),
        ("application credential", {"os_application_credential_id": "wrong"}),
        ("application credential", {"os_application_credential_secret": "wrong"}),
        ("application credential, by name", {"os_application_credential_name": "wrong"}),
    ],
)
def test_a_wrong_way_of_keystone_is_denied_after_one_request(
    way: str, wrong: dict[str, str], acme: Emulator
) -> None:
    """Keystone's 401 and 404 are refusals of the account: eight calls make one request."""
    acme.reset()
    errors = _create(acme, 8, os_auth_url=acme.url, **{**WAYS[way], **wrong})

    assert {(Category.DENIED, 401)} == {(getattr(e, "category", e), getattr(e, "status", e)) for e in errors}
    assert 1 == sum(acme.stats()["token"].values())


@pytest.mark.parametrize("name", ["password", "credential"])
def test_a_cloud_of_a_file_signs_in(name: str, acme: Emulator, tmp_path: Path) -> None:
    """``OS_CLOUD`` signs in with what clouds.yaml and secure.yaml have."""
    acme.reset()
    (tmp_path / "clouds.yaml").write_text(CLOUDS.format(url=acme.url, acme=id_of("acme")))
    (tmp_path / "secure.yaml").write_text(SECURE)
    (accepted,) = _create(
        acme,
        1,
        os_cloud=name,
        os_client_config_file=str(tmp_path / "clouds.yaml"),
        os_client_secure_file=str(tmp_path / "secure.yaml"),
    )

    assert [backup["id"] for backup in acme.backups()] == [getattr(accepted, "id", accepted)]


@pytest.mark.parametrize("name", ["password", "credential"])
def test_the_emulator_lets_openstacks_own_tools_sign_in(name: str, acme: Emulator, tmp_path: Path) -> None:
    """keystoneauth signs in with the same files, and finds the address of the API in the catalogue."""
    config = imported("openstack.config")
    (tmp_path / "clouds.yaml").write_text(CLOUDS.format(url=f"{acme.url}/v3", acme=id_of("acme")))
    (tmp_path / "secure.yaml").write_text(SECURE)
    files = {f"{kind}_files": [str(tmp_path / f"{stem}.yaml")] for kind, stem in _STEMS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what becomes of its own features
        session = config.OpenStackConfig(**files).get_one(name).get_session()
        endpoint = session.get_endpoint(service_type="volumev3", interface="public")

    assert f"{acme.url}/v3/{PROJECT}" == endpoint


_STEMS = {"config": "clouds", "secure": "secure"}


@pytest.mark.parametrize("fast", [True, False], ids=["pool", "httpx"])
@pytest.mark.parametrize("together", [True, False], ids=["one file", "two files"])
def test_a_client_certificate_is_presented(
    fast: bool, together: bool, tmp_path: Path, acme: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud that accepts only connections with a certificate is reached with ``OS_CERT``, not without."""
    monkeypatch.setattr(http, "_fast", fast)
    acme.reset()
    for name in ("server", "client"):
        (tmp_path / name).mkdir()
    server = make_certificate(tmp_path / "server", "IP:127.0.0.1")
    client = make_certificate(tmp_path / "client", "DNS:client.example.com")
    (tmp_path / "both.pem").write_text(client.certificate.read_text() + client.key.read_text())
    files = {"os_cert": str(client.certificate), "os_key": str(client.key)}
    with tls_front(urlsplit(acme.url).port or 0, server, client) as port:
        url = f"https://127.0.0.1:{port}"
        way = {
            **WAYS["password"],
            "os_auth_url": url,
            "vbs_endpoint": url,
            "os_cacert": str(server.certificate),
        }
        with_it = {"os_cert": str(tmp_path / "both.pem")} if together else files
        (accepted,) = _create(acme, 1, **way, **with_it)
        (refused,) = _create(acme, 1, **way)

    assert [backup["id"] for backup in acme.backups()] == [getattr(accepted, "id", accepted)]
    assert Category.UNAVAILABLE == getattr(refused, "category", refused)
