"""What can go wrong around an event, as a tree.

SnapshotBackupError
├── SettingsError        a setting is missing or wrong; the program does not start
├── ExtraMissing         a package of an extra is not installed
├── ApiError             the API refused, could not be asked, or gave no usable answer
├── LedgerUnavailable    the promise book cannot be read or written now
└── BrokerError
    ├── ConnectionLost   the connection, or the channel that delivered, is gone
    ├── PublishRefused   the broker did not take a message in time, or said no
    └── Unroutable       nobody is bound for an outcome

What is wrong with the event itself is in ``events.errors``.
"""

from dataclasses import dataclass

from events.outcome import Category


class SnapshotBackupError(Exception):
    """The root of all errors that this program raises on purpose."""


class SettingsError(SnapshotBackupError):
    """Settings are missing or wrong; each argument is a problem that begins with its variable's name."""

    def __str__(self) -> str:
        return "; ".join(self.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """One text for each problem."""
        return tuple(map(str, self.args))


class ExtraMissing(SnapshotBackupError):
    """A package of an extra is not installed; the text names both."""


@dataclass(eq=False)
class ApiError(SnapshotBackupError):
    """The API's answer, or the lack of one, as one of the outcome categories.

    ``status`` is the HTTP status or None, ``retry_after`` seconds (already bounded), ``busy`` says that
    another backup of this snapshot or volume is in progress, so that a lookup must come before another try.
    ``sent`` says that a byte of the request may have left: only where none has, a second request is safe
    without a lookup.
    """

    category: Category
    message: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    busy: bool = False
    sent: bool = True

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.status, self.code, self.message) if part)


class LedgerUnavailable(SnapshotBackupError):
    """The ledger is locked, full, or out of reach; nothing may be promised until it is back."""


class BrokerError(SnapshotBackupError):
    """Something between us and the broker."""


class ConnectionLost(BrokerError):
    """The connection is gone: what was not acknowledged will be delivered again."""


class PublishRefused(BrokerError):
    """The broker refused a message, or did not confirm it in time."""


class Unroutable(BrokerError):
    """The broker returned a mandatory message: no queue is bound for it."""
