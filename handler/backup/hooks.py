"""What the parts tell of their work: small frozen objects, handed to whoever listens.

The parts know nothing of logs, metrics or traces. A hook is called in the task that handles the message,
after the thing has happened; it must be quick and must not raise.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

from events.errors import EventIds
from events.message import State
from handler.backup.result import Delay, Kind, Result

Route = Literal["create", "list", "show", "snapshot", "token"]
PublishedKind = Literal["outcome", "wait", "dead_letter", "other"]


class Handled(NamedTuple):
    """How a message was handled; nothing is left to do but to acknowledge it.

    ``state`` is what was known of it when it came, ``reply`` what replaces it; ``form`` the form that it came
    in, where that could be read.
    """

    kind: Kind
    ids: EventIds
    state: State
    result: Result | None = None
    form: str | None = None

    @property
    def category(self) -> str | None:
        """The category of a failure."""
        return self.result.dead_letter.category.value if self.result and self.result.dead_letter else None

    @property
    def delay(self) -> Delay | None:
        """Until when and why it waits, if it does."""
        return self.result.delay if self.result else None

    @property
    def reason(self) -> str | None:
        """The category of a failure, or why the message waits."""
        return self.category or (self.delay.state.reason if self.delay else None)

    @property
    def backup_id(self) -> str | None:
        """The backup that was made of the snapshot, as far as it is known."""
        backup = getattr(self.result.outcome, "backup", None) if self.result else None
        return backup.id if backup else self.state.backup_id


class Call(NamedTuple):
    """A call of the API or its sign-in: ``status`` is None where no usable answer came.

    ``ended_at`` is seconds since the epoch, ``host`` the server's name.
    """

    route: Route
    method: str
    host: str
    status: int | None
    seconds: float
    ended_at: float


class Published(NamedTuple):
    """A message that the broker has confirmed.

    Without an ``exchange``, ``routing_key`` is the queue. ``size`` is the body's bytes, ``seconds`` how long
    it took, ``ended_at`` seconds since the epoch.
    """

    kind: PublishedKind
    exchange: str
    routing_key: str
    message_id: str | None
    size: int
    seconds: float
    ended_at: float


class BreakerChange(NamedTuple):
    """Ionsuming was paused or goes on; ``why`` is a category or ``ledger``, ``reason`` the error's text.

    ``seconds`` is how long it pauses, or after a pause how long the trouble has lasted.
    """

    state: Literal["closed", "half_open", "open"]
    why: str
    reason: str
    seconds: float


Notify = Callable[[Handled], None]
OnCall = Callable[[Call], None]
OnPublished = Callable[[Published], None]
OnBreakerChange = Callable[[BreakerChange], None]

Follow = Callable[[EventIds, str | None], AbstractContextManager[str | None]]
"""Surrounds the handling of a message: takes its ids and the ``traceparent`` that came with it, and gives the
one that is passed on."""


def noop(_told: object) -> None:
    """Listen to nothing."""
