"""What the parts tell of their work: small frozen objects, handed to whoever listens.

The parts know nothing of logs, metrics or traces. A hook is called in the task that handles the message,
after the thing has happened; it must be quick and must not raise.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

from events.errors import EventIds
from handler.backup.result import Result

Route = Literal["create", "list", "show", "snapshot", "token"]
PublishedKind = Literal["outcome", "wait", "dead_letter", "other"]


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


Notify = Callable[[Result], None]
OnCall = Callable[[Call], None]
OnPublished = Callable[[Published], None]
OnBreakerChange = Callable[[BreakerChange], None]

Follow = Callable[[EventIds, str | None], AbstractContextManager[str | None]]
"""Surrounds the handling of a message: takes its ids and the ``traceparent`` that came with it, and gives the
one that is passed on."""


def noop(_told: object) -> None:
    """Listen to nothing."""
