"""The sign-in: compares tokens in constant time, and limits wrong ones by the client's address."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import SecretStr

MOST_WRONG = 10
"""Wrong tokens from one address within ``WINDOW``; further tries are refused unread."""
WINDOW = 60.0
MOST_ADDRESSES = 1000


Role = Literal["read", "act"]
"""What a caller may do after a sign-in; a caller that may act may also read."""


class SignIn:
    """Checks tokens against ``CONSOLE_TOKEN`` and ``CONSOLE_READ_TOKEN``; without any, none is needed."""

    def __init__(
        self,
        token: SecretStr | None,
        read_token: SecretStr | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given: Mapping[Role, SecretStr | None] = {"act": token, "read": read_token}
        self._tokens = {role: each.get_secret_value().encode() for role, each in given.items() if each}
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def needed(self) -> bool:
        """Whether a token is set."""
        return bool(self._tokens)

    def wait_seconds(self, address: str) -> int:
        """Return for how many seconds this address may not try again; 0 if it may."""
        now = self._clock()
        recent = [at for at in self._wrong.get(address, ()) if at > now - WINDOW]
        return int(recent[0] + WINDOW - now) + 1 if len(recent) >= MOST_WRONG else 0

    def role_of(self, given: str, address: str) -> Role | None:
        """Return what a token allows; None for a wrong one, which is counted. Ask ``wait_seconds`` before."""
        token, found = given.encode("utf-8", "surrogateescape"), None
        for role, right in self._tokens.items():  # each is compared, so that the time tells nothing
            if hmac.compare_digest(right, token):
                found = role
        if found is None:
            self._count(address)
        return found

    def _count(self, address: str) -> None:
        now = self._clock()
        recent = [at for at in self._wrong.pop(address, ()) if at > now - WINDOW]
        self._wrong[address] = [*recent, now]
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
