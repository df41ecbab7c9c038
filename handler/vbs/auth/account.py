"""The account of one cloud: who signs in, for what, and how its endpoints are chosen and reached.

``Account`` is immutable and holds all that a client of the cloud needs. It is made of the environment
(``environment``) or of a name in ``clouds.yaml`` (``clouds``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from handler.tls_files import NO_FILES, TlsFiles

Method = Literal["password", "application_credential", "token"]
"""The identity methods of Keystone that we know."""

Document = Mapping[str, object]
"""A part of the token request."""


class Origin(NamedTuple):
    """Where one value of an account is from; ``value`` is empty for a secret."""

    key: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of Keystone, by its id or its name."""

    id: str | None = None
    name: str | None = None

    def document(self) -> Document:
        """Return its part of the token request."""
        return {"id": self.id} if self.id else {"name": self.name}


@dataclass(frozen=True, slots=True)
class User:
    """A user of Keystone: its id, or its name within a domain."""

    id: str | None = None
    name: str | None = None
    domain: Domain | None = None

    def document(self) -> Document:
        """Return its part of the token request."""
        if self.id:
            return {"id": self.id}
        return {"name": self.name, **({"domain": self.domain.document()} if self.domain else {})}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signs in, and the secret that proves it: a password, the credential's secret, or a token."""

    method: Method
    secret: str = field(repr=False)
    user: User | None = None
    credential: User | None = None
    """The application credential, by its id or its name; by name, ``user`` is its owner."""

    def document(self) -> Document:
        """Return the identity of the token request."""
        return {"methods": [self.method], self.method: self._proof()}

    def _proof(self) -> Document:
        if self.method == "token":
            return {"id": self.secret}
        if self.credential is None:
            user = self.user.document() if self.user else {}
            return {"user": {**user, "password": self.secret}}
        owner = {"user": self.user.document()} if self.user and not self.credential.id else {}
        return {**self.credential.document(), **owner, "secret": self.secret}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is for: a project, a domain, a trust, or the whole system."""

    kind: Literal["project", "domain", "trust", "system"]
    id: str | None = None
    name: str | None = None
    domain: Domain | None = None

    def document(self) -> Document:
        """Return the scope of the token request."""
        match self.kind:
            case "system":
                return {"system": {"all": True}}
            case "trust":
                return {"OS-TRUST:trust": {"id": self.id}}
            case "domain":
                return {"domain": Domain(self.id, self.name).document()}
        return {"project": User(self.id, self.name, self.domain).document()}


@dataclass(frozen=True, slots=True)
class Account:
    """One account of a cloud.

    ``name`` is the cloud's name in ``OS_CLOUD``, or empty for the environment's account. ``overrides`` are
    the endpoints that its settings name, by service type. ``check`` says in errors what to check.
    """

    auth_url: str
    identity: Identity
    scope: Scope | None
    name: str = ""
    region: str | None = None
    interface: str = "public"
    tls: TlsFiles = NO_FILES
    overrides: tuple[tuple[str, str], ...] = ()
    check: str = ""
    origins: tuple[Origin, ...] = ()

    @property
    def project_id(self) -> str | None:
        """The id of our own project; None where only the token's answer has it."""
        return self.scope.id if self.scope and self.scope.kind == "project" else None

    @property
    def bound(self) -> bool:
        """Whether its tokens are always of the same project: then no other project can be signed in to."""
        credential = self.identity.method == "application_credential"
        return credential or (self.scope is not None and self.scope.kind == "trust")

    def home(self) -> Document | None:
        """Return the scope of our own project; None for a credential, which has its own."""
        return self.scope.document() if self.scope else None
