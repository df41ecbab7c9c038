"""The sign-in: compares tokens in constant time, and limits wrong ones by the client's address."""

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import SecretStr

MOST_WRONG = 10
"""Wrong tokens from one address within ``WINDOW``; further tries are refused unread."""
WINDOW = 60.0
MOST_ADDRESSES = 1000


class SignIn:
    """Checks tokens against ``CONSOLE_TOKEN``; None means that no sign-in is needed."""

    def __init__(self, token: SecretStr | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.get_secret_value().encode() if token else None
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def needed(self) -> bool:
        """Whether a token is set."""
        return self._token is not None

    def wait_seconds(self, address: str) -> int:
        """Return for how many seconds this address may not try again; 0 if it may."""
        now = self._clock()
        recent = [at for at in self._wrong.get(address, ()) if at > now - WINDOW]
        return int(recent[0] + WINDOW - now) + 1 if len(recent) >= MOST_WRONG else 0

    def is_right(self, given: str, address: str) -> bool:
        """Return whether a token is right; a wrong one is counted. Ask ``wait_seconds`` before."""
        right = self._token is not None and hmac.compare_digest(
            self._token, given.encode("utf-8", "surrogateescape")
        )
        if not right:
            self._count(address)
        return right

    def _count(self, address: str) -> None:
        now = self._clock()
        recent = [at for at in self._wrong.pop(address, ()) if at > now - WINDOW]
        self._wrong[address] = [*recent, now]
        if len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
