"""What the emulator can be told at start; the command's options have the same names."""

from dataclasses import dataclass
from typing import Literal

Rules = Literal["page", "cinder"]
Auth = Literal["none", "token", "aksk"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one emulator behaves. Times are in seconds; a quota of -1 is no limit."""

    settle: float = 1.0
    rules: Rules = "page"
    strict: bool = False
    # Cinder looks at the snapshot's status first and sets it later: creates that arrive in between are all
    # accepted (measured: eight of eight at once). 0 makes the guard atomic, which the real one is not.
    race: float = 0.005
    quota_backups: int = -1
    quota_gigabytes: int = -1
    auth: Auth = "none"
    username: str = "demo"
    password: str = "secret"  # noqa: S105 - a made-up account of a stand-in
    project_id: str | None = None
    token: str | None = None
    token_ttl: float = 86400.0
    ak: str = "emulator-ak"
    sk: str = "emulator-sk"
    security_token: str | None = None
    seed: int = 0
