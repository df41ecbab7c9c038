"""Authentication of calls: none, by a token of the token request, or by a signature."""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request

from infra.emulator.answers import bad_request, gateway_error, unauthorized
from infra.emulator.catalogue import catalogue
from infra.emulator.keystone import REFUSED, SignedIn, domain_id_of, id_of
from infra.emulator.keystone import sign_in as keystone_sign_in
from infra.emulator.settings import Settings
from infra.emulator.signing import SignatureError, SignedRequest, verify
from infra.emulator.store import Clock


@dataclass(frozen=True, slots=True)
class Token:
    """A token of one project, with its expiry."""

    value: str
    project_id: str | None
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

    def sign_in(self, body: object, keystone: str) -> tuple[Token, dict[str, dict[str, object]]]:
        """Return the token and the JSON body that answers the token request. Raises ApiError."""
        done = keystone_sign_in(body, self._settings, self._issued_for)
        token = Token(secrets.token_urlsafe(96), done.project_id, self._clock() + self._settings.token_ttl)
        self._tokens[token.value] = token
        return token, _token_body(token, self._settings, done, self._clock(), keystone)

    def _issued_for(self, value: str) -> str | None:
        token = self._tokens.get(value)
        return token.project_id or "" if token and token.expires_at > self._clock() else None

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
            raise unauthorized(REFUSED, str(request.base_url).rstrip("/"))
        return token.project_id or ""

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


def _token_body(
    token: Token, settings: Settings, done: SignedIn, now: float, base: str
) -> dict[str, dict[str, object]]:
    name = settings.domain or "Default"
    domain = {"id": domain_id_of(name), "name": name}
    project = {"domain": domain, "id": token.project_id, "name": done.project_name}
    return {
        "token": {
            "methods": [done.method],
            "user": {
                "domain": domain,
                "id": id_of(settings.username),
                "name": settings.username,
                "password_expires_at": None,
            },
            "audit_ids": [secrets.token_urlsafe(16)],
            "expires_at": _zulu(token.expires_at),
            "issued_at": _zulu(now),
            **({"project": project} if token.project_id else {"domain": domain}),
            "is_domain": False,
            "roles": [{"id": id_of("member"), "name": "member"}],
            "catalog": catalogue(settings, base, token.project_id),
        }
    }


def _zulu(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
