"""Sessions: who has signed in, as a signed cookie, with the CSRF token that belongs to it.

The key is made at random at each start, so that a restart ends all sessions.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from handler.console.web.sign_in import Role

COOKIE = "snapshot-backup-console"
SECONDS = 12 * 3600
"""How long a session lasts."""


class Session(NamedTuple):
    """One browser's session. ``expires`` is in seconds since the epoch; the role is that of its token."""

    id: str
    expires: int
    role: Role | None = None


class Sessions:
    """Makes sessions, and reads them from cookies. ``clock`` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock

    def begin(self, role: Role | None = None) -> Session:
        """Begin a session with an id of its own."""
        return Session(secrets.token_hex(16), int(self._clock()) + SECONDS, role)

    def to_cookie(self, session: Session) -> str:
        """Return the signed value of a session's cookie."""
        text = f"{session.id}.{session.expires}.{session.role or ''}"
        return f"{text}.{self._sign('session', text)}"

    def from_cookie(self, value: str) -> Session | None:
        """Return the session of a cookie; None where its signature is wrong, or it has expired."""
        text, _, signature = value.rpartition(".")
        if not hmac.compare_digest(self._sign("session", text).encode(), signature.encode()):
            return None
        id_, expires, role = text.split(".")
        session = Session(id_, int(expires), cast("Role", role) if role else None)
        return session if session.expires > self._clock() else None

    def csrf_token(self, session: Session) -> str:
        """Return what each form of this session carries; another site cannot read it."""
        return self._sign("csrf", session.id)

    def is_csrf_token(self, session: Session, token: str) -> bool:
        """Return whether a form carries this session's token; compared in constant time."""
        return hmac.compare_digest(self.csrf_token(session).encode(), token.encode())

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()
