"""The tree of errors.

SnapshotBackupError
├── SettingsError        a setting is missing or wrong; the program does not start
├── ExtraMissing         a package of an extra is not installed
├── ApiError             the API refused a call, could not be reached, or gave no usable answer
│   └── CallHeld         the call was not sent, since calls like it fail
├── LedgerUnavailable    the ledger cannot be read or written now
└── BrokerError
    ├── ConnectionLost   the connection, or the channel that delivered, is closed
    │   └── AccessRefused  the broker refuses the login or the virtual host
    ├── PublishRefused   the broker refused a message
    │   └── TooLarge       its body is larger than the broker takes
    └── Unroutable       no queue is bound for a message
        └── OutcomeRefused   the broker refused an outcome again and again

Errors in the event itself are in ``events.errors``.
"""

from dataclasses import dataclass
from typing import Literal

from events.outcome import Category


class SnapshotBackupError(Exception):
    """The base class of this program's errors."""


class SettingsError(SnapshotBackupError):
    """Settings are missing or wrong. Each argument is a problem that begins with its variable's name."""

    def __str__(self) -> str:
        return "; ".join(self.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """The problems, as texts."""
        return tuple(map(str, self.args))


class ExtraMissing(SnapshotBackupError):
    """A package of an extra is not installed; the text names both."""


@dataclass(eq=False)
class ApiError(SnapshotBackupError):
    """A failed call of the API, with its outcome category.

    ``status`` is the HTTP status or None; ``retry_after`` is in seconds, already bounded. ``busy``: another
    request works on this snapshot or volume, so a lookup must come before the next try.
    ``sent``: a byte of the request may have left. Only where none has, a second request is safe without a
    lookup.
    ``from_api``: the API itself gave the answer, in one of its own forms. Otherwise a gateway, a proxy or
    another server did, and what it refuses or limits concerns all messages.
    ``renewed``: the request's token was refused and has been renewed; the request was not sent again.
    ``parent``: an incremental backup has no earlier backup to build on, or one that is not available yet.
    ``remedy``: which setting to check, for operators alone: consumers of outcomes read the text.
    """

    category: Category
    message: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    busy: bool = False
    sent: bool = True
    from_api: bool = True
    renewed: bool = False
    parent: Literal["missing", "busy"] | None = None
    remedy: str = ""

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.status, self.code, self.message) if part)

    @property
    def for_operators(self) -> str:
        """The text with the remedy."""
        return "; ".join(filter(None, (str(self), self.remedy)))


class CallHeld(ApiError):
    """A call that was not sent, since calls of its project or route fail; ``retry_after`` says how long.

    ``lasting``: several probes have failed, so that a message which is too old may end without a try.
    """

    lasting: bool = False


@dataclass(eq=False)
class LedgerUnavailable(SnapshotBackupError):
    """The ledger is locked, full, or not reachable. No request may be sent until it is back.

    ``reason`` is what happened, and ``remedy`` what to change, in our own words. ``detail`` is the text of a
    library, without secrets, and ``place`` the setting, and the file.
    """

    reason: str
    remedy: str = ""
    detail: str = ""
    place: str = ""

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.place, self.summary)))
        return f"{text} ({self.detail})" if self.detail else text

    @property
    def summary(self) -> str:
        """Reason and remedy alone, for a page that needs no sign-in."""
        remedy = self.remedy.removeprefix(f"{self.place}: ")  # what shows the place names it once
        return ": ".join(filter(None, (self.reason, remedy)))


class BrokerError(SnapshotBackupError):
    """An error of the broker, or of the connection to it."""


class ConnectionLost(BrokerError):
    """The connection is lost; the broker delivers again what was not acknowledged.

    ``reason`` is the broker's or the library's own text, where this one adds a remedy.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


class AccessRefused(ConnectionLost):
    """The broker refuses the login or the virtual host. The text names ``AMQP_URL`` and what to change."""


class PublishRefused(BrokerError):
    """The broker refused a message (nack)."""


class TooLarge(PublishRefused):
    """A body of ``size`` bytes, where the broker takes at most ``limit``; no repetition changes that."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the broker takes messages of at most {limit} bytes, and this one has {size}: raise "
            "max_message_size in rabbitmq.conf"
        )
        self.size = size
        self.limit = limit


class Unroutable(BrokerError):
    """The broker returned a mandatory message: no queue is bound for it."""


class OutcomeRefused(Unroutable):
    """The broker refused an outcome again and again: a bound queue is full, or a right is missing."""
