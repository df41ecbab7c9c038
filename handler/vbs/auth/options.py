"""Makes an account of what OpenStack's tools call options: the keys of ``clouds.yaml``, also without ``OS_``.

The rules are those of keystoneauth and openstacksdk, so that the same options send the same token request.
Where they would send a request that Keystone refuses, this fills the gap: a user's domain is ``Default``, a
project's that of the user, and an application credential has no scope.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from handler.addresses import readable_file, sign_in_url
from handler.errors import SettingsError
from handler.fields import identity_version, insecure, interface, one_line, project_id
from handler.tls_files import TlsFiles
from handler.values import choice, flag
from handler.vbs.auth.account import Account, Domain, Identity, Method, Origin, Scope, User

KINDS: Final[Mapping[str, Method]] = {
    "password": "password",
    "v3password": "password",
    "v3applicationcredential": "application_credential",
    "token": "token",
    "v3token": "token",
}
"""The kinds of sign-in that we know, as ``OS_AUTH_TYPE`` and ``auth_type`` name them."""

OTHER_KINDS: Final = frozenset(
    {
        *("admin_token", "http_basic", "none", "token_endpoint", "v2password", "v2token", "v3adfspassword"),
        *("v3fedkerb", "v3kerberos", "v3multifactor", "v3oauth1", "v3oauth2clientcredential"),
        *("v3oauth2mtlsclientcredential", "v3oidcaccesstoken", "v3oidcauthcode", "v3oidcclientcredentials"),
        *("v3oidcdeviceauthz", "v3oidcpassword", "v3samlpassword", "v3tokenlessauth", "v3totp", "v3websso"),
        *("v3adminakey", "v3oidcazuread", "gnocchi-basic", "gnocchi-noauth", "aksk", "v3aksk"),
    }
)
"""Kinds that other tools know: an error may name them, since they are no misplaced secret."""

SECRETS: Final = frozenset({"password", "token", "application_credential_secret"})
"""The options that are secrets."""

KEYS: Final = (
    *("auth_url", "auth_type", "username", "user_id", "user_domain_id", "user_domain_name", "password"),
    *("application_credential_id", "application_credential_name", "application_credential_secret", "token"),
    *("project_id", "project_name", "project_domain_id", "project_domain_name", "domain_id", "domain_name"),
    *("default_domain", "default_domain_id", "default_domain_name", "system_scope", "trust_id"),
    *("region_name", "interface", "cacert", "cert", "key", "insecure", "verify", "identity_api_version"),
)
"""All options that we know, in the order in which they are shown."""

OVERRIDE: Final = "_endpoint_override"

_PROJECT = "project_id or project_name"
_CREDENTIAL = "application_credential_id or application_credential_name"
_USER = "username or user_id"
_PROJECT_ID = "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """The text of one option, and where it is from: a variable, a file, or a profile."""

    text: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one account, and how errors name them.

    ``label`` makes a key readable: ``OS_USERNAME`` in the environment. ``where`` comes before it, such as
    ``OS_CLOUD: prod in clouds.yaml``.
    """

    values: Mapping[str, Option]
    label: Callable[[str], str]
    check: str
    where: str = ""
    name: str = ""

    def get(self, key: str) -> str | None:
        """Return an option's text, or None."""
        return self.values[key].text if key in self.values else None

    def parsed(self, key: str, parse: Callable[[str], T], example: str) -> T | None:
        """Return an option as ``parse`` reads it. Raises ``SettingsError`` that shows no part of it."""
        text = self.get(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise self.wrong(key, str(error), example) from None

    def wrong(self, key: str, problem: str, example: str) -> SettingsError:
        """Return an error about one option, which ends with an example of it."""
        separator = ": " if self.where else "="
        return SettingsError(
            f"{self.where}{self.label(key)}: {problem}, such as {self.label(key)}{separator}{example}"
        )


def kind_of(options: Options) -> str | None:
    """Return the kind that ``auth_type`` names: a method of ours, ``none``, or None where it is not set.

    Raises ``SettingsError`` that names a kind which we do not know.
    """
    text = options.get("auth_type")
    if text is None:
        return None
    kind = text.strip().lower()
    if kind == "none":
        return kind
    if kind not in KINDS:
        named = f"{kind} is" if kind in OTHER_KINDS else "is"
        known = ", ".join(KINDS)
        raise options.wrong(
            "auth_type",
            f"{named} not a sign-in of this program, which has {known}",
            "v3applicationcredential",
        )
    return KINDS[kind]


def make_account(options: Options, method: Method) -> Account:
    """Make the account. Raises ``SettingsError`` that names the option which is missing or wrong."""
    for key in options.values.keys() & set(KEYS):
        options.parsed(key, one_line, "example")
    _check_refused(options)
    if missing := missing_options(options, method):
        named = ", ".join(missing)
        raise SettingsError(f"{options.where}{named}: needed to sign in by {method}, but not set")
    auth_url = options.parsed("auth_url", _versioned, "https://keystone.example.com:5000/v3")
    return Account(
        auth_url=auth_url or "",
        identity=_identity(options, method),
        scope=None if method == "application_credential" else _scope(options),
        name=options.name,
        region=options.get("region_name"),
        interface=options.parsed("interface", interface, "public") or "public",
        tls=tls_files(options),
        overrides=_overrides(options),
        check=options.check,
        origins=_origins(options),
    )


def missing_options(options: Options, method: Method) -> list[str]:
    """Return what a method needs and is not set, as errors name it."""
    needs = {
        "password": ("auth_url", _USER, "password", _PROJECT),
        "application_credential": ("auth_url", _CREDENTIAL, "application_credential_secret"),
        "token": ("auth_url", "token", _PROJECT),
    }[method]
    missing = [need for need in needs if not _is_met(options, need)]
    if method == "application_credential" and options.get("application_credential_id") is None:
        by_name = options.get("application_credential_name") is not None
        missing += [_USER] if by_name and not _is_met(options, _USER) else []
    return [" or ".join(map(options.label, need.split(" or "))) for need in missing]


def _is_met(options: Options, need: str) -> bool:
    keys = need.split(" or ")
    if need == _PROJECT:
        keys += ["domain_id", "domain_name", "system_scope", "trust_id"]
    return any(options.get(key) for key in keys)


def _check_refused(options: Options) -> None:
    """Raise ``SettingsError`` for options that would make the sign-in unsafe, or of another protocol."""
    options.parsed("insecure", insecure, "false")
    options.parsed("verify", _verified, "true")
    options.parsed("identity_api_version", identity_version, "3")


def _verified(text: str) -> bool:
    return not insecure(not flag(text))


def _versioned(text: str) -> str:
    url = sign_in_url(text)
    if re.search(r"/v2\.0/?\Z", url):
        raise ValueError("is of version 2, which Keystone no longer has; end it in /v3")
    return url


def _identity(options: Options, method: Method) -> Identity:
    if method == "token":
        return Identity(method, options.get("token") or "")
    if method == "password":
        return Identity(method, options.get("password") or "", _user(options))
    credential = User(options.get("application_credential_id"), options.get("application_credential_name"))
    owner = None if credential.id else _user(options)
    return Identity(method, options.get("application_credential_secret") or "", owner, credential)


def _user(options: Options) -> User:
    if options.get("user_id"):
        return User(options.get("user_id"))
    return User(None, options.get("username"), _user_domain(options))


def _user_domain(options: Options) -> Domain:
    scope = Domain(options.get("domain_id"), options.get("domain_name"))
    return _domain(options, "user") or (scope if scope.id or scope.name else Domain(name="Default"))


def _domain(options: Options, kind: str) -> Domain | None:
    """Return the domain of the user or project, or None; as in keystoneauth, an id goes before a name."""
    own = options.get(f"{kind}_domain_id"), options.get(f"{kind}_domain_name")
    if _has_project(options):
        # A domain beside a project is no scope: it is the domain of both.
        own = own[0] or options.get("domain_id"), own[1] or options.get("domain_name")
    if not any(own):
        own = options.get("default_domain"), None  # as in python-openstackclient, an id
    domain_id = own[0] or options.get("default_domain_id")
    name = own[1] or options.get("default_domain_name")
    return Domain(id=domain_id) if domain_id else Domain(name=name) if name else None


def _has_project(options: Options) -> bool:
    return bool(options.get("project_id") or options.get("project_name"))


def _scope(options: Options) -> Scope:
    """Return the one thing that a token is to be for."""
    wanted = [key for key in ("trust_id", "system_scope") if options.get(key)]
    if _has_project(options):
        wanted.append("project_id" if options.get("project_id") else "project_name")
    elif options.get("domain_id") or options.get("domain_name"):
        wanted.append("domain_id" if options.get("domain_id") else "domain_name")
    if len(wanted) > 1:
        named = ", ".join(map(options.label, wanted))
        raise SettingsError(f"{options.where}{named}: a token is for one of them only; remove the others")
    match wanted[0]:
        case "trust_id":
            return Scope("trust", options.get("trust_id"))
        case "system_scope":
            options.parsed("system_scope", choice("all"), "all")
            return Scope("system")
        case "domain_id" | "domain_name":
            return Scope("domain", options.get("domain_id"), options.get("domain_name"))
        case "project_id":
            return Scope(
                "project", options.parsed("project_id", project_id, "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5")
            )
    return Scope(
        "project", None, options.get("project_name"), _domain(options, "project") or _user_domain(options)
    )


def tls_files(options: Options) -> TlsFiles:
    """Return the PEM files that the options name. Raises ``SettingsError`` for one that cannot be read."""
    cacert, cert, key = (
        _pem(options, name, example)
        for name, example in (("cacert", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))
    )
    if key and not cert:
        raise options.wrong("cert", "needed by the key beside it, but not set", "/etc/ssl/client.pem")
    return TlsFiles((cacert,) if cacert else (), cert, key)


def _pem(options: Options, key: str, example: str) -> tuple[str, Path] | None:
    path = options.parsed(key, lambda text: str(readable_file(text)), f"/etc/ssl/{example}")
    return (f"{options.where}{options.label(key)}", Path(path)) if path else None


def _overrides(options: Options) -> tuple[tuple[str, str], ...]:
    """Return the endpoints that the options name, by service type, such as ``volumev3``."""
    found = (
        (key.removesuffix(OVERRIDE), options.parsed(key, sign_in_url, "https://volume.example.com"))
        for key in sorted(options.values)
        if key.endswith(OVERRIDE)
    )
    return tuple((service, url) for service, url in found if url)


def _origins(options: Options) -> tuple[Origin, ...]:
    overrides = sorted(key for key in options.values if key.endswith(OVERRIDE))
    return tuple(
        Origin(options.label(key), "" if key in SECRETS else found.text, found.source)
        for key in (*KEYS, *overrides)
        if (found := options.values.get(key))
    )
