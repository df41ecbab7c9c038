"""``FakeContext``: the context that FunctionGraph passes to a call, with the documented methods only."""
# ruff: noqa: N802 - the names are the platform's

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class FakeContext:
    """The context of one call.

    ``remaining`` is in milliseconds, and negative by default, as some runtimes report it; an exception is
    raised. ``keys`` and ``token`` are those of an agency; without it their methods return None.
    """

    user_data: Mapping[str, str] = field(default_factory=dict)
    remaining: object = -1
    keys: tuple[str, str, str] | None = None
    token: str | None = None

    def getUserData(self, key: str) -> str | None:
        return self.user_data.get(key)

    def getRemainingTimeInMilliSeconds(self) -> object:
        if isinstance(self.remaining, Exception):
            raise self.remaining
        return self.remaining

    def getRunningTimeInSeconds(self) -> int:
        return 60

    def getSecurityAccessKey(self) -> str | None:
        return self.keys[0] if self.keys else None

    def getSecuritySecretKey(self) -> str | None:
        return self.keys[1] if self.keys else None

    def getSecurityToken(self) -> str | None:
        return self.keys[2] if self.keys else None

    def getToken(self) -> str | None:
        return self.token

    def getAccessKey(self) -> str:
        return ""

    def getSecretKey(self) -> str:
        return ""

    def getRequestID(self) -> str:
        return "7c307f6a-cf68-4e65-8be0-4c77405a1b2c"

    def getProjectID(self) -> str:
        return "8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5"

    def getFunctionName(self) -> str:
        return "snapshot-backup"

    def getVersion(self) -> str:
        return "latest"

    def getAlias(self) -> str:
        return ""

    def getPackage(self) -> str:
        return "default"

    def getMemorySize(self) -> int:
        return 512

    def getCPUNumber(self) -> int:
        return 600

    def getLogger(self) -> logging.Logger:
        return logging.getLogger("functiongraph")


@dataclass
class MixedUnitsContext(FakeContext):
    """A call's context that mixes seconds and milliseconds in its remaining time, as YuanRong's does.

    With a limit of 30 s it reports 30 ms at the start, and a negative number 30 ms later.
    """

    limit: int = 30
    started: float = field(default_factory=time.monotonic)

    def getRemainingTimeInMilliSeconds(self) -> int:
        return int(self.limit - (time.monotonic() - self.started) * 1000)
