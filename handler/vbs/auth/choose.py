"""Select the sign-in method from the settings.

``VBS_AUTH=auto`` takes the first method whose variables are all set: ``password`` (which renews its tokens),
``aksk``, ``token`` (which expires). If no method is complete but some variables of one are set, that is an
error. If nothing is set, it is ``agency`` inside FunctionGraph (where the call has credentials), else
``none``.

Each sign-in's module is imported only if it is selected: an import takes about 2 ms of a cold start.
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
"""A function that returns the FunctionGraph context of the running call."""

_PROJECT = "OS_PROJECT_ID or OS_PROJECT_NAME"


def choose_auth(
    settings: Settings,
    client: httpx.AsyncClient,
    agency: Context | None = None,
    *,
    notify: OnCall = noop,
) -> httpx.Auth | None:
    """Create the sign-in that the settings select; None means no sign-in.

    ``password`` calls IAM over ``client`` and reports each call to ``notify``. Raises ``SettingsError`` that
    names the missing or wrong variable.
    """
    method = settings.vbs_auth if settings.vbs_auth != "auto" else _automatic(settings, agency)
    if method == "none":
        return None
    _check_encrypted("VBS_ENDPOINT", settings.vbs_endpoint)
    if method == "agency":
        return _agency(agency, required=settings.vbs_auth == "agency")
    missing = [name for name, value in _variables(settings)[method].items() if not value]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)}: required by VBS_AUTH={method}, but not set; "
            "set each, or select another sign-in, for example VBS_AUTH=none"
        )
    return _BUILDERS[method](settings, client, notify)


def _variables(settings: Settings) -> Mapping[str, Mapping[str, object]]:
    """Return the variables that each method needs, in the order in which ``auto`` prefers the methods."""
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
    methods = _variables(settings)
    for complete in (method for method, variables in methods.items() if all(variables.values())):
        return complete
    for partial in (method for method, variables in methods.items() if _partly_set(variables)):
        return partial
    return "agency" if agency is not None else "none"


def _partly_set(variables: Mapping[str, object]) -> bool:
    """Return whether any variable is set besides the project, which other OpenStack tools set too."""
    return any(value for name, value in variables.items() if name != _PROJECT)


def _password(settings: Settings, client: httpx.AsyncClient, notify: OnCall) -> httpx.Auth:
    from handler.vbs.auth.identity import Account
    from handler.vbs.auth.password import PasswordAuth

    auth_url = settings.os_auth_url or ""
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
            settings.huaweicloud_sdk_ak or "",
            _secret(settings.huaweicloud_sdk_sk),
            _secret(security_token) or None,
        ),
        home=settings.vbs_project_id or settings.os_project_id,
    )


def _token(settings: Settings, _client: httpx.AsyncClient, _notify: OnCall) -> httpx.Auth:
    return TokenAuth(_secret(settings.os_token))


_BUILDERS: Mapping[str, Callable[[Settings, httpx.AsyncClient, OnCall], httpx.Auth]] = {
    "password": _password,
    "aksk": _aksk,
    "token": _token,
}


def _agency(agency: Context | None, *, required: bool) -> httpx.Auth:
    if agency is None:
        raise SettingsError(
            "VBS_AUTH: agency works only inside FunctionGraph; elsewhere set for example VBS_AUTH=password"
        )
    from handler.vbs.auth.agency import AgencyAuth

    return AgencyAuth(agency, required=required)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""


def _check_encrypted(variable: str, url: str | None) -> None:
    """Raise ``SettingsError`` if the URL would send credentials unencrypted to another machine."""
    parts = urlsplit(url or "")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise SettingsError(
            f"{variable}: must be https, since credentials are sent there, for example https://vbs.example.com"
        )
