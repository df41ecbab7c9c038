"""Who signs in with a token request, and for what: password, application credential or token, as in Keystone.

The account is that of the settings; its user has a role in every project.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.emulator.answers import ApiError
from infra.emulator.settings import Settings

REFUSED = "The request you have made requires authentication."
_MALFORMED = (
    "Expecting to find {0} in {1}. The server could not comply with the request since it is either malformed "
    "or otherwise incorrect. The client is assumed to be in error."
)

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An accepted sign-in: its method, and the project of its token, which a token of a domain has not."""

    method: str
    project_id: str | None
    project_name: str = "demo"


def sign_in(body: object, settings: Settings, project_of: Callable[[str], str | None]) -> SignedIn:
    """Check a token request; `project_of` returns the project of an issued token, or None.

    Raises ApiError: 400 for another form, 401 for what is wrong, 404 for an unknown credential.
    """
    auth = _mapping(body, "auth")
    identity = _mapping(auth, "identity")
    methods = identity.get("methods")
    if not isinstance(methods, list) or len(methods) != 1:
        raise keystone_error(400, _MALFORMED.format("methods", "identity"))
    proof = _mapping(identity, str(methods[0]))
    match methods[0]:
        case "password":
            _check_password(_mapping(proof, "user"), settings)
        case "application_credential":
            return _credential(auth, proof, settings)
        case "token":
            if project_of(str(proof.get("id"))) is None:
                raise keystone_error(401, REFUSED)
        case _:
            raise keystone_error(401, "Attempted to authenticate with an unsupported method.")
    return _scoped(methods[0], auth, settings)


def keystone_error(status: int, message: str) -> ApiError:
    """Return an error in Keystone's shape."""
    title = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}[status]
    return ApiError(status, {"error": {"code": status, "message": message, "title": title}})


def id_of(name: str) -> str:
    """Derive the id of a thing from its name; the same name gives the same id."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name).hex


def _check_password(user: Fields, settings: Settings) -> None:
    _check_user(user, settings)
    given = str(_needed(user, "password", "user"))
    if not secrets.compare_digest(given.encode(), settings.password.encode()):
        raise keystone_error(401, REFUSED)


def _check_user(user: Fields, settings: Settings) -> None:
    """Check a user by its id, or by its name in its domain. Raises ApiError (400, 401)."""
    if "id" in user:
        known = user["id"] == id_of(settings.username)
    else:
        known = _needed(user, "name", "user") == settings.username
        known = _is_domain(_mapping(user, "domain"), settings) and known
    if not known:
        raise keystone_error(401, REFUSED)


def _is_domain(domain: Fields, settings: Settings) -> bool:
    name = settings.domain
    return name is None or domain.get("name") == name or domain.get("id") == domain_id_of(name)


def domain_id_of(name: str) -> str:
    """Return the id of a domain; that of Keystone's first one is `default`."""
    return "default" if name == "Default" else id_of(name)


def _credential(auth: Fields, proof: Fields, settings: Settings) -> SignedIn:
    if "scope" in auth:
        detail = "Application credentials cannot request a scope."
        raise keystone_error(401, f"Error authenticating with application credential: {detail}")
    if "id" in proof:
        known = proof["id"] == settings.credential_id
    else:
        _check_user(_mapping(proof, "user"), settings)
        known = _needed(proof, "name", "application_credential") == settings.credential_name
    if not known:
        named = proof.get("id", proof.get("name"))
        raise keystone_error(404, f"Could not find Application Credential: {named}.")
    given = str(_needed(proof, "secret", "application_credential"))
    if not secrets.compare_digest(given.encode(), settings.credential_secret.encode()):
        raise keystone_error(401, REFUSED)
    return SignedIn("application_credential", settings.project_id or id_of("demo"))


def _scoped(method: str, auth: Fields, settings: Settings) -> SignedIn:
    scope = auth.get("scope", {"project": {"name": "demo", "domain": {"name": settings.domain}}})
    if scope == "unscoped" or "domain" in scope or "system" in scope:
        return SignedIn(method, None)
    if "OS-TRUST:trust" in scope:
        return SignedIn(method, settings.project_id or id_of("demo"))
    project = _mapping(scope, "project")
    if "id" in project:
        return SignedIn(method, str(project["id"]))
    name = str(_needed(project, "name", "project"))
    if not _is_domain(_mapping(project, "domain"), settings):
        raise keystone_error(401, REFUSED)
    return SignedIn(method, settings.project_id or id_of(name), name)


def _mapping(fields: object, name: str) -> Fields:
    """Return a member that is an object. Raises ApiError (400)."""
    value = fields.get(name) if isinstance(fields, Mapping) else None
    if not isinstance(value, Mapping):
        raise keystone_error(400, _MALFORMED.format(name, "the request"))
    return value


def _needed(fields: Fields, name: str, where: str) -> object:
    if name not in fields:
        raise keystone_error(400, _MALFORMED.format(name, where))
    return fields[name]
