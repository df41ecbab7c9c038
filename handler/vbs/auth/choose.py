"""Select the sign-in from the settings.

``VBS_AUTH=auto`` takes ``cloud`` if ``OS_CLOUD`` is set, else the method that ``OS_AUTH_TYPE`` names, else
the first method whose variables are all set: ``password`` and ``application_credential`` (which renew their
tokens), ``aksk``, ``token`` (which expires). If no method is complete but some variables of one are set, that
is an error. If nothing is set, it is ``agency`` inside FunctionGraph (where the call has credentials), else
``none``.

Each sign-in's module is imported only if it is selected: an import takes about 2 ms of a cold start.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from handler.backup.hooks import OnCall, noop
from handler.errors import SettingsError
from handler.loopback import is_loopback
from handler.settings import Settings
from handler.tls_files import NO_FILES, TlsFiles
from handler.vbs.auth.token import TokenAuth

if TYPE_CHECKING:
    from handler.vbs.auth.account import Account, Method

Context = Callable[[], object]
"""A function that returns the FunctionGraph context of the running call."""

_KEYSTONE = ("password", "application_credential")
_PASSWORD = ("os_auth_url", "os_username", "os_user_id", "os_password")
_CREDENTIAL = tuple(f"os_application_credential_{name}" for name in ("id", "name", "secret"))
_BEGUN: Mapping[str, tuple[str, ...]] = {
    "application_credential": _CREDENTIAL,
    "password": _PASSWORD,
    "aksk": ("huaweicloud_sdk_ak", "huaweicloud_sdk_sk"),
}
"""The fields that show which method is meant where none is complete; other tools use the project too."""


class SignIn(NamedTuple):
    """The selected method, and its accounts: one for each name of ``OS_CLOUD``, one or none otherwise."""

    method: str
    accounts: "tuple[Account, ...]" = ()
    files: TlsFiles = NO_FILES
    """The PEM files of a method without an account; an account has its own."""

    @property
    def account(self) -> "Account | None":
        """The first account, which is the default, or None."""
        return self.accounts[0] if self.accounts else None

    @property
    def tls(self) -> TlsFiles:
        """The PEM files for the connections to the first account's cloud."""
        return self.accounts[0].tls if self.accounts else self.files

    @property
    def auth_url(self) -> str | None:
        """The URL that the first account signs in at, or None."""
        return self.accounts[0].auth_url if self.accounts else None

    @property
    def home(self) -> str | None:
        """The project of the first account, or None where there is none, or only its name is known."""
        return self.accounts[0].project_id if self.accounts else None

    @property
    def each(self) -> "tuple[SignIn, ...]":
        """The sign-ins to the single clouds."""
        return tuple(self._replace(accounts=(account,)) for account in self.accounts) or (self,)

    def unencrypted(self, settings: Settings) -> Iterator[str]:
        """Yield the setting of each URL to which a secret is sent unencrypted over the network."""
        if self.method != "none":
            endpoints = {"VBS_ENDPOINT": settings.vbs_endpoint, "EVS_ENDPOINT": settings.evs_endpoint}
            yield from (name for name, url in endpoints.items() if is_plaintext(url))
        for account in self.accounts:
            if is_plaintext(account.auth_url):
                yield f"OS_CLOUD: auth_url of {account.check}" if account.name else "OS_AUTH_URL"


def choose_auth(
    settings: Settings,
    client: httpx.AsyncClient,
    agency: Context | None = None,
    *,
    sign_in: SignIn | None = None,
    notify: OnCall = noop,
) -> httpx.Auth | None:
    """Create the sign-in that the settings select; None means no sign-in.

    ``sign_in`` is what ``select_sign_in`` has returned, if it is known. Calls to IAM go over ``client`` and
    are reported to ``notify``. Raises ``SettingsError`` that names the missing or wrong variable.
    """
    sign_in = sign_in or select_sign_in(settings, agency)
    match sign_in.method:
        case "none":
            return None
        case "agency":
            return _agency(agency, required=settings.vbs_auth == "agency")
        case "aksk":
            return _aksk(settings)
        case "token":
            return TokenAuth(_secret(settings.os_token))
    if len(sign_in.accounts) != 1:
        raise SettingsError("OS_CLOUD: must be the name of one cloud, such as OS_CLOUD=production")
    return keystone_auth(sign_in.accounts[0], client, settings, notify=notify)


def keystone_auth(
    account: "Account", client: httpx.AsyncClient, settings: Settings, *, notify: OnCall = noop
) -> httpx.Auth:
    """Create the sign-in of one account at Keystone or IAM."""
    from handler.vbs.auth.password import PasswordAuth

    return PasswordAuth(client, account, timeout=settings.vbs_timeout, notify=notify)


def select_sign_in(settings: Settings, agency: Context | None = None) -> SignIn:
    """Select the method, and make its accounts. Raises ``SettingsError``."""
    method = settings.vbs_auth if settings.vbs_auth != "auto" else _automatic(settings, agency)
    if missing := _missing(settings, method):
        raise SettingsError(
            f"{', '.join(missing)}: required by VBS_AUTH={method}, but not set; "
            "set each, or select another sign-in, for example VBS_AUTH=none"
        )
    sign_in = SignIn(method, *_accounts(settings, method))
    if not settings.vbs_allow_plaintext:
        for variable in sign_in.unencrypted(settings):
            raise SettingsError(
                f"{variable}: must be https, since credentials are sent there, for example "
                "https://vbs.example.com; VBS_ALLOW_PLAINTEXT=true allows http inside a private network"
            )
    return sign_in


def is_plaintext(url: str | None) -> bool:
    """Return whether what is sent to a URL crosses the network unencrypted."""
    parts = urlsplit(url or "")
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _accounts(settings: Settings, method: str) -> "tuple[tuple[Account, ...], TlsFiles]":
    if method == "cloud":
        from handler.vbs.auth.clouds import cloud_accounts

        return cloud_accounts(settings), NO_FILES
    if method not in _KEYSTONE and not (settings.os_cacert or settings.os_cert or settings.os_key):
        return (), NO_FILES
    from handler.vbs.auth.environment import environment_options
    from handler.vbs.auth.options import make_account, tls_files

    if method in _KEYSTONE:
        known = cast("Method", method)
        return (make_account(environment_options(settings, known), known),), NO_FILES
    return (), tls_files(environment_options(settings))


def _missing(settings: Settings, method: str) -> list[str]:
    """Return the variables that a method needs and are not set."""
    match method:
        case "cloud":
            return [] if settings.os_cloud else ["OS_CLOUD"]
        case "token":
            return [] if settings.os_token else ["OS_TOKEN"]
        case "aksk":
            return [name.upper() for name in _BEGUN["aksk"] if not getattr(settings, name)]
        case "password" | "application_credential":
            from handler.vbs.auth.environment import environment_options
            from handler.vbs.auth.options import missing_options

            return missing_options(environment_options(settings), method)
    return []


def _automatic(settings: Settings, agency: Context | None) -> str:
    if settings.os_cloud:
        return "cloud"
    begun = [method for method in _BEGUN if any(getattr(settings, name) for name in _BEGUN[method])]
    if settings.os_auth_type:
        from handler.vbs.auth.environment import environment_options
        from handler.vbs.auth.options import kind_of

        kind = kind_of(environment_options(settings)) or ""
        if kind == "none" or kind in begun:
            return kind
    for method in ("password", "application_credential", "aksk"):
        if method in begun and not _missing(settings, method):
            return method
    if settings.os_token:
        return "token"
    return begun[0] if begun else "agency" if agency is not None else "none"


def _aksk(settings: Settings) -> httpx.Auth:
    from handler.vbs.auth.aksk import AkSkAuth
    from handler.vbs.auth.keys import Keys

    security_token = settings.huaweicloud_sdk_security_token
    return AkSkAuth(
        Keys(
            settings.huaweicloud_sdk_ak or "",
            _secret(settings.huaweicloud_sdk_sk),
            _secret(security_token) or None,
        ),
        home=settings.vbs_project_id or settings.os_project_id,
    )


def _agency(agency: Context | None, *, required: bool) -> httpx.Auth:
    if agency is None:
        raise SettingsError(
            "VBS_AUTH: agency works only inside FunctionGraph; elsewhere set for example VBS_AUTH=password"
        )
    from handler.vbs.auth.agency import AgencyAuth

    return AgencyAuth(agency, required=required)


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""
