"""Authentication of calls: none, by a token of the token request, or by a signature."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request

from infra.emulator.answers import bad_request, gateway_error, unauthorized
from infra.emulator.settings import Settings
from infra.emulator.signing import SignatureError, SignedRequest, verify
from infra.emulator.store import Clock

NO_TOKEN = "The request you have made requires authentication."  # noqa: S105 - Keystone's sentence


@dataclass(frozen=True, slots=True)
class Token:
    """A token of one project, with its expiry."""

    value: str
    project_id: str
    expires_at: float


class Authenticator:
    """Issues tokens, and checks each call as `Settings.auth` says."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._tokens: dict[str, Token] = {}

    def forget(self) -> None:
        """Make all issued tokens invalid."""
        self._tokens.clear()

    def sign_in(self, body: object, keystone: str) -> tuple[Token, dict[str, object]]:
        """Return the token and the JSON body that answers the token request. Raises ApiError (400, 401)."""
        try:
            name, password = _credentials(body)
            project = _scope(body)
        except (KeyError, TypeError):
            raise bad_request("Expecting to find valid JSON in request body.") from None
        if (name, password) != (self._settings.username, self._settings.password):
            raise unauthorized(NO_TOKEN, keystone)
        project_id = project.get("id") or self._settings.project_id or project_id_of(project.get("name", ""))
        expires_at = self._clock() + self._settings.token_ttl
        token = Token(secrets.token_urlsafe(96), project_id, expires_at)
        self._tokens[token.value] = token
        return token, _token_body(token, name, project.get("name", "demo"), self._clock(), keystone)

    def check(self, request: Request, project_id: str | None, body: bytes) -> None:
        """Check a call. Raises ApiError (401 without a valid sign-in, 400 for another project).

        The version document is no project's.
        """
        allowed = self._settings.project_id
        if self._settings.auth == "token":
            allowed = self._token_project(request)
        elif self._settings.auth == "aksk":
            self._check_signature(request, body)
        if None not in (allowed, project_id) and project_id != allowed:
            raise bad_request("Malformed request url")

    def _token_project(self, request: Request) -> str | None:
        """Return the project of the caller's token; None if the fixed token opens all projects."""
        value = request.headers.get("x-auth-token", "")
        if self._settings.token is not None and secrets.compare_digest(
            value.encode(), self._settings.token.encode()
        ):
            return self._settings.project_id
        token = self._tokens.get(value)
        if token is None or token.expires_at <= self._clock():
            raise unauthorized(NO_TOKEN, str(request.base_url).rstrip("/"))
        return token.project_id

    def _check_signature(self, request: Request, body: bytes) -> None:
        signed = SignedRequest(
            method=request.method,
            path=request.scope["raw_path"].decode("ascii"),
            query=request.scope["query_string"].decode("ascii"),
            headers=dict(request.headers),
            body=body,
        )
        try:
            verify(signed, {self._settings.ak: self._settings.sk}, self._clock())
            self._check_security_token(signed.headers)
        except SignatureError as problem:
            message = f"Incorrect IAM authentication information: {problem}"
            raise gateway_error(401, "APIGW.0301", message, uuid.uuid4().hex) from None

    def _check_security_token(self, headers: Mapping[str, str]) -> None:
        """Refuse a temporary key without its security token."""
        expected = self._settings.security_token
        if expected is not None and headers.get("x-security-token") != expected:
            raise SignatureError("x-security-token missing or wrong")


def project_id_of(name: str) -> str:
    """Derive the id of a project from its name; the same name gives the same id."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name).hex


def _credentials(body: object) -> tuple[str, str]:
    user = body["auth"]["identity"]["password"]["user"]  # type: ignore[index] # the caller catches the errors
    return str(user["name"]), str(user["password"])


def _scope(body: object) -> dict[str, str]:
    project = body["auth"]["scope"]["project"]  # type: ignore[index] # the caller catches the errors
    return {key: str(project[key]) for key in ("id", "name") if key in project}


def _token_body(token: Token, user: str, project: str, now: float, base: str) -> dict[str, object]:
    domain = {"id": "default", "name": "Default"}
    return {
        "token": {
            "methods": ["password"],
            "user": {
                "domain": domain,
                "id": project_id_of(user),
                "name": user,
                "password_expires_at": None,
            },
            "audit_ids": [secrets.token_urlsafe(16)],
            "expires_at": _zulu(token.expires_at),
            "issued_at": _zulu(now),
            "project": {"domain": domain, "id": token.project_id, "name": project},
            "is_domain": False,
            "roles": [{"id": project_id_of("member"), "name": "member"}],
            "catalog": [
                _service("volumev2", f"{base}/v2/{token.project_id}"),
                _service("volumev3", f"{base}/v3/{token.project_id}"),
            ],
        }
    }


def _service(kind: str, url: str) -> dict[str, object]:
    endpoint = {
        "id": project_id_of(url),
        "interface": "public",
        "region_id": "RegionOne",
        "region": "RegionOne",
        "url": url,
    }
    return {"endpoints": [endpoint], "id": project_id_of(kind), "type": kind, "name": kind}


def _zulu(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
