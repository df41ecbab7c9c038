"""Tests of sign-ins from the environment: ``openrc`` files, compared with what OpenStack's own tools send."""
# ruff: noqa: E501 - a row of a table is a line

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from handler.bootstrap import warn_of_plaintext
from handler.errors import SettingsError
from handler.settings import load_settings
from handler.vbs.auth.choose import select_sign_in
from handler.vbs.transport.http import http_client
from tests.oracle import sent_by_openstack, sent_by_us

URL = "https://keystone.example.com:5000/v3"
PROJECT = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"
USER = {"OS_AUTH_URL": URL, "OS_USERNAME": "backup", "OS_PASSWORD": "hunter2-Ä"}
NAMED = {**USER, "OS_USER_DOMAIN_NAME": "acme"}
CREDENTIAL = {"OS_AUTH_URL": URL, "OS_AUTH_TYPE": "v3applicationcredential"}
SECRET = {"OS_APPLICATION_CREDENTIAL_SECRET": "s3cret-of-it"}
BY_ID = {"OS_USER_ID": "3f1b9c0e7d5a4c2ab8e6f10293847566", "OS_PASSWORD": "hunter2", "OS_AUTH_URL": URL}

OPENRC: Mapping[str, Mapping[str, str]] = {
    "horizon": {
        **USER, "OS_PROJECT_ID": PROJECT, "OS_PROJECT_NAME": "production", "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_ID": "default", "OS_REGION_NAME": "RegionOne", "OS_INTERFACE": "public",
        "OS_IDENTITY_API_VERSION": "3",
    },
    "horizon, an application credential": {
        **CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_ID": "21dced0fd20347869b93710d2b98aae0",
        "OS_IDENTITY_API_VERSION": "3", "OS_REGION_NAME": "RegionOne", "OS_INTERFACE": "public",
    },
    "kolla-ansible": {
        **USER, "OS_PROJECT_DOMAIN_NAME": "Default", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_NAME": "admin",
        "OS_TENANT_NAME": "admin", "OS_INTERFACE": "internal", "OS_ENDPOINT_TYPE": "internalURL",
        "OS_MANILA_ENDPOINT_TYPE": "internalURL", "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": "RegionOne", "OS_AUTH_PLUGIN": "password", "OS_AUTH_URL": "https://10.0.0.5:5000",
    },
    "openstack-ansible": {
        **USER, "OS_ENDPOINT_TYPE": "internalURL", "OS_INTERFACE": "internalURL", "OS_AUTH_TYPE": "password",
        "OS_PROJECT_NAME": "admin", "OS_TENANT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default", "OS_NO_CACHE": "1", "OS_REGION_NAME": "RegionOne",
        "NOVA_ENDPOINT_TYPE": "internalURL", "OS_IDENTITY_API_VERSION": "3",
    },
    "ovh": {
        **USER, "OS_AUTH_URL": "https://auth.cloud.ovh.net/v3", "OS_IDENTITY_API_VERSION": "3",
        "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_TENANT_ID": PROJECT,
        "OS_TENANT_NAME": "1234567890", "OS_REGION_NAME": "GRA9",
    },
    "open telekom cloud": {
        **USER, "OS_USER_DOMAIN_NAME": "OTC-EU-DE-00000000001000012345", "OS_PROJECT_NAME": "eu-de_backup",
        "OS_PROJECT_DOMAIN_NAME": "OTC-EU-DE-00000000001000012345", "OS_TENANT_NAME": "eu-de",
        "OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com:443/v3", "OS_VOLUME_API_VERSION": "2",
        "OS_ENDPOINT_TYPE": "publicURL", "CINDER_ENDPOINT_TYPE": "publicURL", "OS_IDENTITY_API_VERSION": "3",
    },
    "open telekom cloud, its domain": {
        **USER, "OS_USER_DOMAIN_NAME": "OTC-EU-DE-00000000001000012345",
        "OS_DOMAIN_NAME": "OTC-EU-DE-00000000001000012345",
        "OS_AUTH_URL": "https://iam.eu-de.otc.t-systems.com/v3",
    },
    "open telekom cloud, its domain beside a project": {
        **USER, "OS_DOMAIN_NAME": "OTC-EU-DE-00000000001000012345", "OS_PROJECT_NAME": "eu-de_backup",
    },
    "juju": {
        **USER, "OS_AUTH_VERSION": "3", "OS_AUTH_PROTOCOL": "https", "OS_AUTH_TYPE": "password",
        "OS_PROJECT_DOMAIN_NAME": "admin_domain", "OS_USER_DOMAIN_NAME": "admin_domain",
        "OS_PROJECT_NAME": "admin", "OS_IDENTITY_API_VERSION": "3",
    },
    "devstack": {
        **USER, "OS_AUTH_URL": "https://192.0.2.10/identity", "OS_PROJECT_NAME": "demo", "OS_TENANT_NAME": "demo",
        "OS_USER_DOMAIN_ID": "default", "OS_PROJECT_DOMAIN_ID": "default", "OS_VOLUME_API_VERSION": "3",
        "OS_REGION_NAME": "RegionOne",
    },
    "a user by id": {**BY_ID, "OS_PROJECT_ID": PROJECT},
    "a user by id, a project by name": {**BY_ID, "OS_PROJECT_NAME": "p", "OS_PROJECT_DOMAIN_NAME": "acme"},
    "a project of another domain": {**NAMED, "OS_PROJECT_NAME": "p", "OS_PROJECT_DOMAIN_ID": "d0"},
    "a domain by id before one by name": {**NAMED, "OS_USER_DOMAIN_ID": "d1", "OS_PROJECT_ID": PROJECT},
    "default domains by name": {**USER, "OS_DEFAULT_DOMAIN_NAME": "acme", "OS_PROJECT_NAME": "p"},
    "default domains by id": {**USER, "OS_DEFAULT_DOMAIN_ID": "d2", "OS_PROJECT_NAME": "p"},
    "a default domain by id beside a name": {**NAMED, "OS_DEFAULT_DOMAIN_ID": "d2", "OS_PROJECT_ID": PROJECT},
    "a domain by id": {**NAMED, "OS_DOMAIN_ID": "d3"},
    "a domain by id beside a project": {**USER, "OS_DOMAIN_ID": "d3", "OS_PROJECT_NAME": "p"},
    "the system": {**NAMED, "OS_SYSTEM_SCOPE": "all"},
    "a trust": {**NAMED, "OS_TRUST_ID": "7fa2e02b1dc34f9cbd1f2d3a4b5c6d7e"},
    "v3password": {**NAMED, "OS_AUTH_TYPE": "v3password", "OS_PROJECT_ID": PROJECT},
    "no domain of a user by id": {**BY_ID, "OS_PROJECT_ID": PROJECT, "OS_USER_DOMAIN_NAME": "ignored"},
    "empty variables": {**NAMED, "OS_PROJECT_ID": PROJECT, "OS_PROJECT_NAME": "", "OS_TENANT_NAME": ""},
    "a credential by name and a user's id": {
        **CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_NAME": "backup", "OS_USER_ID": "u1",
    },
    "a credential by name and a user's name": {
        **CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_NAME": "backup", "OS_USERNAME": "backup",
        "OS_USER_DOMAIN_NAME": "acme",
    },
    "a credential by name and a user in a domain's id": {
        **CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_NAME": "backup", "OS_USERNAME": "backup",
        "OS_USER_DOMAIN_ID": "d4",
    },
}  # fmt: skip
"""Variables that ``openrc`` files set, as deployment tools and clouds make them."""


def export(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set the variables as if an ``openrc`` file had been sourced."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", OPENRC)
def test_an_openrc_file_signs_in_as_with_openstacks_own_tools(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token request has the same URL and body as that of openstacksdk and keystoneauth."""
    export(monkeypatch, OPENRC[name])

    assert sent_by_openstack() == sent_by_us()


def test_a_file_of_horizon_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that bash exports after sourcing Horizon's file are those of a sign-in."""
    (tmp_path / "openrc.sh").write_text(HORIZON)
    command = ["bash", "-c", "echo hunter2 | { source openrc.sh >/dev/null; env -0; }"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, check=True, text=True)
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line.startswith("OS_"))
    export(monkeypatch, found)

    assert sent_by_openstack() == sent_by_us()


HORIZON = """#!/usr/bin/env bash
export OS_AUTH_URL=https://keystone.example.com:5000
export OS_PROJECT_ID=8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5
export OS_PROJECT_NAME="production"
export OS_USER_DOMAIN_NAME="Default"
if [ -z "$OS_USER_DOMAIN_NAME" ]; then unset OS_USER_DOMAIN_NAME; fi
export OS_PROJECT_DOMAIN_ID="default"
if [ -z "$OS_PROJECT_DOMAIN_ID" ]; then unset OS_PROJECT_DOMAIN_ID; fi
unset OS_TENANT_ID
unset OS_TENANT_NAME
export OS_USERNAME="backup"
echo "Please enter your OpenStack Password for project $OS_PROJECT_NAME as user $OS_USERNAME: "
read -sr OS_PASSWORD_INPUT
export OS_PASSWORD=$OS_PASSWORD_INPUT
export OS_REGION_NAME="RegionOne"
if [ -z "$OS_REGION_NAME" ]; then unset OS_REGION_NAME; fi
export OS_INTERFACE=public
export OS_IDENTITY_API_VERSION=3
"""


@pytest.mark.parametrize(
    ("variables", "user", "project"),
    [
        ({}, {"name": "Default"}, {"name": "Default"}),
        ({"OS_USER_DOMAIN_NAME": "acme"}, {"name": "acme"}, {"name": "acme"}),
        ({"OS_USER_DOMAIN_ID": "d1"}, {"id": "d1"}, {"id": "d1"}),
        ({"OS_DEFAULT_DOMAIN": "d2"}, {"id": "d2"}, {"id": "d2"}),
        ({"OS_DEFAULT_DOMAIN": "d2", "OS_USER_DOMAIN_NAME": "acme"}, {"name": "acme"}, {"id": "d2"}),
        ({"OS_PROJECT_DOMAIN_NAME": "acme"}, {"name": "Default"}, {"name": "acme"}),
    ],
)
def test_a_domain_that_is_not_set_is_filled_in(
    variables: Mapping[str, str],
    user: Mapping[str, str],
    project: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keystone refuses names without a domain: a user's is Default, a project's is the user's."""
    export(monkeypatch, {**USER, "OS_PROJECT_NAME": "p", **variables})
    auth = sent_by_us().body["auth"]

    assert user == auth["identity"]["password"]["user"]["domain"]
    assert project == auth["scope"]["project"]["domain"]


def test_an_application_credential_is_used_without_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystone refuses a credential with a scope, so that a project that is set too is left out."""
    name = "horizon, an application credential"
    export(monkeypatch, {**OPENRC[name], "OS_PROJECT_ID": PROJECT, "OS_DOMAIN_NAME": "acme"})

    assert {"identity"} == sent_by_us().body["auth"].keys()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({**NAMED, "OS_AUTH_TYPE": "v3oidcpassword"}, "OS_AUTH_TYPE: v3oidcpassword is not a sign-in"),
        ({**NAMED, "OS_AUTH_TYPE": "v3totp"}, "OS_AUTH_TYPE: v3totp is not a sign-in"),
        ({**NAMED, "OS_AUTH_TYPE": "v2password"}, "OS_AUTH_TYPE: v2password is not a sign-in"),
        ({**NAMED, "OS_AUTH_TYPE": "hunter2"}, "OS_AUTH_TYPE: is not a sign-in"),
        ({**NAMED, "OS_AUTH_TYPE": "v3applicationcredential", **SECRET}, "OS_APPLICATION_CREDENTIAL_ID or"),
        (SECRET, "OS_AUTH_URL, OS_APPLICATION_CREDENTIAL_ID or OS_APPLICATION_CREDENTIAL_NAME: required"),
        (
            {**CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_NAME": "backup"},
            "OS_USERNAME or OS_USER_ID: required by VBS_AUTH=application_credential",
        ),
        (
            {**NAMED, "OS_PROJECT_ID": "p", "OS_SYSTEM_SCOPE": "all"},
            "OS_SYSTEM_SCOPE, OS_PROJECT_ID: a token",
        ),
        ({**NAMED, "OS_DOMAIN_ID": "d", "OS_TRUST_ID": "t"}, "OS_TRUST_ID, OS_DOMAIN_ID: a token is for one"),
        (
            {**NAMED, "OS_PROJECT_ID": "p", "OS_AUTH_URL": "https://h:5000/v2.0"},
            "OS_AUTH_URL: is of version 2",
        ),
        ({"VBS_AUTH": "cloud"}, "OS_CLOUD: required by VBS_AUTH=cloud"),
    ],
)
def test_an_error_names_the_variable_that_prevents_the_sign_in(
    variables: Mapping[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is missing, contradicts another, or asks for a sign-in that we do not have is named."""
    export(monkeypatch, variables)
    with pytest.raises(SettingsError) as caught:
        select_sign_in(load_settings(_env_file=None))

    assert str(caught.value).startswith(named)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "method"),
    [
        ({"OS_AUTH_TYPE": "none"}, "none"),
        ({"OS_AUTH_TYPE": "v3token", "OS_TOKEN": "t", "OS_AUTH_URL": URL}, "token"),
        ({"OS_AUTH_TYPE": "password", "HUAWEICLOUD_SDK_AK": "a", "HUAWEICLOUD_SDK_SK": "s"}, "aksk"),
        ({**NAMED, **SECRET, "OS_APPLICATION_CREDENTIAL_ID": "c", "OS_PROJECT_ID": "p"}, "password"),
        ({"OS_AUTH_URL": URL, **SECRET, "OS_APPLICATION_CREDENTIAL_ID": "c"}, "application_credential"),
        (
            {**NAMED, **CREDENTIAL, **SECRET, "OS_APPLICATION_CREDENTIAL_ID": "c", "OS_PROJECT_ID": "p"},
            "application_credential",
        ),
    ],
)
def test_what_is_set_decides_the_sign_in(
    variables: Mapping[str, str], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OS_AUTH_TYPE`` goes before what is set, as long as anything of its kind is set."""
    export(monkeypatch, variables)

    assert method == select_sign_in(load_settings(_env_file=None)).method


def test_plain_http_needs_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """http to another machine is refused, with the name of the switch that allows it; then each URL is named."""
    export(monkeypatch, {**NAMED, "OS_PROJECT_ID": "p", "OS_AUTH_URL": "http://10.0.0.5:5000"})
    with pytest.raises(SettingsError, match=r"^OS_AUTH_URL: must be https.* VBS_ALLOW_PLAINTEXT=true"):
        select_sign_in(load_settings(_env_file=None))

    monkeypatch.setenv("VBS_ALLOW_PLAINTEXT", "true")
    monkeypatch.setenv("VBS_ENDPOINT", "http://10.0.0.6:8776")
    settings = load_settings(_env_file=None)
    assert ["VBS_ENDPOINT", "OS_AUTH_URL"] == [*select_sign_in(settings).unencrypted(settings)]


def test_the_start_warns_of_each_url_of_plain_http(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The start of a worker or a function logs one warning for each URL, with what it costs."""
    export(monkeypatch, {"OS_TOKEN": "t", "VBS_ENDPOINT": "http://10.0.0.6:8776", "VBS_ALLOW_PLAINTEXT": "1"})
    settings = load_settings(_env_file=None)
    warn_of_plaintext(select_sign_in(settings), settings)

    [record] = [each for each in caplog.records if getattr(each, "action", "") == "sign_in.plaintext"]
    assert record.getMessage().startswith("VBS_ENDPOINT: is http, and VBS_ALLOW_PLAINTEXT=true allows it")


@pytest.mark.parametrize("extra", [{}, {"OS_TOKEN": "t"}, {**NAMED, "OS_PROJECT_ID": "p"}])
def test_the_pem_files_of_an_openrc_file_are_used_for_the_connections(
    extra: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``OS_CACERT`` is trusted with each sign-in; a file that is no certificate is named by its variable."""
    (tmp_path / "ca.pem").write_text("no certificate")
    export(monkeypatch, {**extra, "OS_CACERT": str(tmp_path / "ca.pem")})
    settings = load_settings(_env_file=None)
    sign_in = select_sign_in(settings)
    with pytest.raises(SettingsError, match=r"^OS_CACERT: .* is no PEM file"):
        http_client(settings, sign_in.tls, sign_in.auth_url)
