"""The keys that authenticate waiting messages: an HMAC over all that a waiting message says.

Without it a producer could publish a waiting message of its own: "this backup is being made, track it".
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

MAC: Final = "statemac"
"""The CloudEvents extension attribute of the HMAC: SHA-256 in lower-case hex."""

_PURPOSE = b"snapshot-backup.waiting"
# Made once: json.dumps makes an encoder for each call, which takes as long as the encoding.
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class StateKeys(NamedTuple):
    """The keys of one queue. The first signs, all verify, so that a key can be rotated.

    The signed bytes are, separated by NUL, a fixed purpose, the queue's name, and the envelope's JSON without
    the HMAC: members sorted, ASCII, no white space. A queue's name holds no NUL, so no part can run into the
    next. A waiting message of another queue does not verify.

    The JSON is made of the *parsed* envelope, the very value that the state is read from: a trigger that
    hands over a body as an object, and writes its members in another order, changes nothing. All members are
    signed, also those that this release does not know: workers of two releases can share a queue.
    """

    queue: str
    keys: tuple[bytes, ...]

    def sign(self, envelope: Mapping[str, Any]) -> str:
        """Return the HMAC of a parsed envelope."""
        return _mac(self.keys[0], self._signed(envelope))

    def verify(self, envelope: Mapping[str, Any]) -> bool:
        """Tell whether one of the keys has signed a parsed envelope. Never raises."""
        mac = envelope.get(MAC)
        if not isinstance(mac, str) or not mac.isascii():
            return False
        signed = self._signed(envelope)
        return any(hmac.compare_digest(mac, _mac(key, signed)) for key in self.keys)

    def _signed(self, envelope: Mapping[str, Any]) -> bytes:
        members = {name: _number(value) for name, value in envelope.items() if name != MAC}
        return b"\0".join((_PURPOSE, self.queue.encode(), _canonical(members).encode()))


def _number(value: object) -> object:
    """Write 5.0 as 5: some writers of JSON do, and both are the same time."""
    return int(value) if type(value) is float and value.is_integer() else value


def _mac(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, "sha256").hex()
