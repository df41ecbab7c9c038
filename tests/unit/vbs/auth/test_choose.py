"""Tests of the selection of the sign-in by the settings."""

import asyncio

import httpx
import pytest

from handler.errors import SettingsError
from handler.settings import Settings
from handler.vbs.auth.agency import AgencyAuth
from handler.vbs.auth.aksk import AkSkAuth
from handler.vbs.auth.choose import choose_auth
from handler.vbs.auth.password import PasswordAuth
from handler.vbs.auth.token import TokenAuth

TOKEN = {"os_token": "t"}
PASSWORD = {
    "os_auth_url": "https://iam.example.com/v3",
    "os_username": "u",
    "os_password": "p",
    "os_project_name": "demo",
}
_PROJECT = "OS_PROJECT_ID or OS_PROJECT_NAME"
AKSK = {"huaweicloud_sdk_ak": "a", "huaweicloud_sdk_sk": "s"}


def _chosen(settings: dict[str, str], *, in_function: bool = False) -> httpx.Auth | None:
    async def choose() -> httpx.Auth | None:
        async with httpx.AsyncClient() as client:
            given = Settings(_env_file=None, **{"vbs_endpoint": "https://vbs.example.com", **settings})  # type: ignore[arg-type] # parsed by pydantic
            return choose_auth(given, client, object if in_function else None)

    return asyncio.run(choose())


@pytest.mark.parametrize(
    ("settings", "in_function", "kind"),
    [
        ({}, False, type(None)),
        ({"os_project_id": "p"}, False, type(None)),
        (TOKEN, False, TokenAuth),
        (PASSWORD, False, PasswordAuth),
        (AKSK, False, AkSkAuth),
        ({**TOKEN, **AKSK}, False, AkSkAuth),
        ({**TOKEN, **PASSWORD, **AKSK}, False, PasswordAuth),
        ({**TOKEN, "os_auth_url": "https://iam.example.com"}, False, TokenAuth),
        ({}, True, AgencyAuth),
        (TOKEN, True, TokenAuth),
        ({**TOKEN, "vbs_auth": "none"}, False, type(None)),
        ({**TOKEN, **AKSK, "vbs_auth": "token"}, False, TokenAuth),
        ({**TOKEN, "vbs_auth": "agency"}, True, AgencyAuth),
    ],
)
def test_the_settings_select_the_sign_in(settings: dict[str, str], kind: type, *, in_function: bool) -> None:
    """The first complete method of password, keys, token, agency, none is used unless VBS_AUTH names one."""
    assert kind is type(_chosen(settings, in_function=in_function))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"vbs_auth": "token"}, "OS_TOKEN"),
        ({"vbs_auth": "password"}, f"OS_AUTH_URL, OS_USERNAME or OS_USER_ID, OS_PASSWORD, {_PROJECT}"),
        ({"vbs_auth": "aksk", "huaweicloud_sdk_ak": "a"}, "HUAWEICLOUD_SDK_SK"),
        ({"os_username": "u", "os_password": "p"}, "OS_AUTH_URL, OS_PROJECT_ID or OS_PROJECT_NAME"),
        ({"vbs_auth": "agency"}, "VBS_AUTH"),
        ({**PASSWORD, "os_auth_url": "http://iam.example.com"}, "OS_AUTH_URL"),
        ({**TOKEN, "vbs_endpoint": "http://vbs.example.com"}, "VBS_ENDPOINT"),
    ],
)
def test_an_error_names_the_missing_or_wrong_variables(settings: dict[str, str], named: str) -> None:
    """The message starts with the variables and contains none of their values."""
    with pytest.raises(SettingsError, match=f"^{named}: "):
        _chosen(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost"])
def test_plain_http_to_loopback_is_allowed_with_credentials(host: str) -> None:
    """An HTTP endpoint on loopback, such as the emulator, is allowed: credentials stay on the machine."""
    assert TokenAuth is type(_chosen({**TOKEN, "vbs_endpoint": f"http://{host}:8776"}))


def test_plain_http_to_any_host_is_allowed_without_credentials() -> None:
    """An HTTP endpoint on any host is allowed without a sign-in, since requests carry no secret."""
    assert _chosen({"vbs_endpoint": "http://vbs.example.com"}) is None
