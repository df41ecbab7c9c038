"""The leases of this process: which claims it holds, and whether it may still act on them. No I/O."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from handler.backup.ports import Granted, Key

USABLE = 0.8
"""The part of a lease in which a request may still leave; the rest allows for clocks of different speed."""


class _Lease(NamedTuple):
    token: str
    since: float


class Leases:
    """The leases of one process. Times are those of the monotonic clock, which is never set back."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.monotonic = monotonic
        self._held: dict[Key, _Lease] = {}

    def granted(self, key: Key, token: str, asked: float) -> None:
        """Record a granted lease. It began no earlier than ``asked``, when the ledger was asked for it."""
        self._held[key] = _Lease(token, asked)

    def drop(self, key: Key) -> None:
        """Forget the lease of a key, whichever claim holds it."""
        self._held.pop(key, None)

    def drop_claim(self, key: Key, token: str) -> None:
        """Forget the lease of one claim; a later claim of the same key stays."""
        if self._is(key, token):
            del self._held[key]

    def renewed(self, key: Key, token: str, asked: float) -> None:
        """Record a renewed lease, unless it was given back meanwhile."""
        if self._is(key, token):
            self.granted(key, token, asked)

    def hold(self, claim: Granted) -> bool:
        """Return whether a request may still leave under this claim."""
        if not self._is(claim.key, claim.token):
            return False
        return self.monotonic() - self._held[claim.key].since < self.seconds * USABLE

    def all(self) -> Sequence[tuple[Key, str]]:
        """Return every claim held, as key and token."""
        return [(key, held.token) for key, held in self._held.items()]

    def _is(self, key: Key, token: str) -> bool:
        held = self._held.get(key)
        return held is not None and held.token == token
