"""The emulator's settings; the options of its command have the same names."""

from dataclasses import dataclass
from typing import Literal

Rules = Literal["page", "cinder"]
Auth = Literal["none", "token", "aksk"]
Versions = Literal["both", "v2", "v3"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one emulator. Times are in seconds; a quota of -1 means no limit.

    ``path`` is before the version in every URL of the API. With an ``evs_path`` snapshots are shown there, as
    at a host of their own, and not beside the backups.
    """

    settle: float = 1.0
    rules: Rules = "page"
    microversion: int = 64  # the newest 3.N, of Cinder 18; 71 for releases of today
    strict: bool = False
    # Cinder checks the snapshot's status first and sets it later: creates that arrive in between are all
    # accepted (measured: eight of eight at once). 0 makes check and set atomic, which Cinder's are not.
    race: float = 0.005
    quota_backups: int = -1
    quota_gigabytes: int = -1
    auth: Auth = "none"
    username: str = "demo"
    password: str = "secret"  # noqa: S105 - the account of an emulator
    domain: str | None = None  # the name of the account's domain; None accepts each
    credential_id: str = "emulator-credential"
    credential_name: str = "backup"
    credential_secret: str = "emulator-credential-secret"  # noqa: S105 - the account of an emulator
    project_id: str | None = None
    token: str | None = None
    token_ttl: float = 86400.0
    ak: str = "emulator-ak"
    sk: str = "emulator-sk"
    security_token: str | None = None
    seed: int = 0
    # An AMQP URL: each backup then makes a snapshot of its own, which is announced there.
    announce: str | None = None
    announce_to: str = "snapshots:snapshot.completed"
    path: str = ""
    evs_path: str | None = None
    versions: Versions = "both"
