"""Which sign-in the settings ask for.

``VBS_AUTH=auto`` takes the first way whose variables are all set: ``password``, ``aksk``, ``token``: what can
renew itself goes before what cannot, and a signature before a token that ends. Where none is complete but one
was begun, that is an error. Where nothing is set it is ``agency`` inside FunctionGraph, if the call has
credentials, else ``none``.

A sign-in's module is imported where the settings ask for it: each takes about 2 ms of a cold start.
"""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from handler.backup.hooks import OnCall, noop
from handler.errors import SettingsError
from handler.loopback import is_loopback
from handler.settings import Settings
from handler.vbs.auth.token import TokenAuth

Context = Callable[[], object]
"""Returns the FunctionGraph context of the call that is running."""

_PROJECT = "OS_PROJECT_ID or OS_PROJECT_NAME"


def choose_auth(
    settings: Settings,
    client: httpx.AsyncClient,
    agency: Context | None = None,
    *,
    notify: OnCall = noop,
) -> httpx.Auth | None:
    """Make the sign-in that the settings ask for; None is no sign-in.

    ``client`` is what ``password`` asks IAM with, and ``notify`` hears of that. Raises ``SettingsError``
    naming what is missing or wrong.
    """
    way = settings.vbs_auth if settings.vbs_auth != "auto" else _automatic(settings, agency)
    if way == "none":
        return None
    _check_encrypted("VBS_ENDPOINT", settings.vbs_endpoint)
    if way == "agency":
        return _agency(agency, required=settings.vbs_auth == "agency")
    missing = [name for name, value in _variables(settings)[way].items() if not value]
    if missing:
        raise SettingsError(f"{', '.join(missing)}: missing for VBS_AUTH={way}")
    return _BUILDERS[way](settings, client, notify)


def _variables(settings: Settings) -> Mapping[str, Mapping[str, object]]:
    """What each way needs; in the order in which ``auto`` prefers them."""
    return {
        "password": {
            "OS_AUTH_URL": settings.os_auth_url,
            "OS_USERNAME": settings.os_username,
            "OS_PASSWORD": settings.os_password,
            _PROJECT: settings.os_project_id or settings.os_project_name,
        },
        "aksk": {
            "HUAWEICLOUD_SDK_AK": settings.huaweicloud_sdk_ak,
            "HUAWEICLOUD_SDK_SK": settings.huaweicloud_sdk_sk,
        },
        "token": {"OS_TOKEN": settings.os_token},
    }


def _automatic(settings: Settings, agency: Context | None) -> str:
    ways = _variables(settings)
    for complete in (way for way, variables in ways.items() if all(variables.values())):
        return complete
    for begun in (way for way, variables in ways.items() if _begun(variables)):
        return begun
    return "agency" if agency is not None else "none"


def _begun(variables: Mapping[str, object]) -> bool:
    """A project alone begins nothing: other tools of OpenStack set it too."""
    return any(value for name, value in variables.items() if name != _PROJECT)


def _password(settings: Settings, client: httpx.AsyncClient, notify: OnCall) -> httpx.Auth:
    from handler.vbs.auth.identity import Account
    from handler.vbs.auth.password import PasswordAuth

    auth_url = settings.os_auth_url or ""
    parts = urlsplit(auth_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("OS_AUTH_URL: must be a URL such as https://iam.region.example.com/v3")
    _check_encrypted("OS_AUTH_URL", auth_url)
    account = Account(
        auth_url=auth_url,
        username=settings.os_username or "",
        password=_secret(settings.os_password),
        domain=settings.os_user_domain_name,
        project_id=settings.os_project_id,
        project_name=settings.os_project_name,
    )
    return PasswordAuth(client, account, timeout=settings.vbs_timeout, notify=notify)


def _aksk(settings: Settings, _client: httpx.AsyncClient, _notify: OnCall) -> httpx.Auth:
    from handler.vbs.auth.aksk import AkSkAuth, Keys

    security_token = settings.huaweicloud_sdk_security_token
    return AkSkAuth(
        Keys(
            _sendable("HUAWEICLOUD_SDK_AK", settings.huaweicloud_sdk_ak or ""),
            _secret(settings.huaweicloud_sdk_sk),
            _sendable("HUAWEICLOUD_SDK_SECURITY_TOKEN", _secret(security_token)) or None,
        )
    )


def _token(settings: Settings, _client: httpx.AsyncClient, _notify: OnCall) -> httpx.Auth:
    return TokenAuth(_sendable("OS_TOKEN", _secret(settings.os_token)))


_BUILDERS: Mapping[str, Callable[[Settings, httpx.AsyncClient, OnCall], httpx.Auth]] = {
    "password": _password,
    "aksk": _aksk,
    "token": _token,
}


def _agency(agency: Context | None, *, required: bool) -> httpx.Auth:
    if agency is None:
        raise SettingsError("VBS_AUTH: agency works inside FunctionGraph only")
    from handler.vbs.auth.agency import AgencyAuth

    return AgencyAuth(agency, required=required)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value().strip() if value is not None else ""


def _sendable(variable: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise SettingsError(f"{variable}: holds characters that no header can carry")
    return value


def _check_encrypted(variable: str, url: str | None) -> None:
    """Credentials travel encrypted, or do not leave the machine."""
    parts = urlsplit(url or "")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise SettingsError(f"{variable}: must be https, since credentials are sent there")
