"""Hooks: the records in which the parts report their work, and the types of the functions that take them.

The parts do not know logs, metrics or traces. A hook is called in the task that handles the message,
after the thing has happened; it must be quick and must not raise. The ledger's hook is called on the thread
that commits, or on the one that watches it while it is stuck.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

from events.errors import EventIds
from handler.backup.result import Result

Route = Literal["create", "list", "show", "snapshot", "token", "version"]
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


class Publishing(NamedTuple):
    """A publish that begins; ``Published`` or ``Unpublished`` ends it."""

    kind: PublishedKind


class Unpublished(NamedTuple):
    """A publish that ended unconfirmed: no queue is bound (``unroutable``), or the connection is lost."""

    kind: PublishedKind
    unroutable: bool


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


class RouteChange(NamedTuple):
    """A type of outcome reaches a queue again (``state`` is None), or none, as a publish showed."""

    outcome_type: str
    state: Literal["unroutable", "refused"] | None


class Redelivered(NamedTuple):
    """A delivery of a message that was delivered before; ``delivery_count`` is the broker's, if it counts."""

    delivery_count: int


class LedgerCommit(NamedTuple):
    """A transaction of the ledger with so many changes; ``failed``: it is not known to be committed.

    ``problem`` is why, and what to change, without secrets; ``place`` the setting, and the file.
    """

    changes: int
    failed: bool = False
    problem: str = ""
    place: str = ""


class SecondBackup(NamedTuple):
    """A snapshot was seen with more than one backup: the promise is broken, or another program made one."""

    snapshot_id: str
    backups: tuple[str, ...]


class OverdueWaits(NamedTuple):
    """What the sweep knows of messages that should be back from their wait queues.

    ``by_delay`` counts them by their delay in seconds; None where it is not known: another worker counts, or
    messages stand in the queue, and these may be among them. ``swept`` were published again just now.
    """

    by_delay: Mapping[int, int] | None
    swept: int = 0


class BreakerChange(NamedTuple):
    """The circuit breaker changed its state; ``why`` is a category or ``ledger``, ``reason`` the text.

    ``held`` says that it holds the calls of one project or route alone, ``released`` that it holds those of a
    route no more. ``seconds`` is how long it stays open or holds them at first, or, once it does not, for how
    long they have failed. ``cloud`` is the name of its cloud where there are several.
    """

    state: Literal["closed", "half_open", "open", "held", "released"]
    why: str
    reason: str
    seconds: float
    cloud: str = ""


Notify = Callable[[Result], None]
OnCall = Callable[[Call], None]
OnPublish = Callable[[Publishing | Published | Unpublished], None]
OnRoute = Callable[[RouteChange], None]
OnRedelivered = Callable[[Redelivered], None]
OnLedgerCommit = Callable[[LedgerCommit], None]
OnOverdueWaits = Callable[[OverdueWaits], None]
OnSecondBackup = Callable[[SecondBackup], None]
OnBreakerChange = Callable[[BreakerChange], None]

Follow = Callable[[EventIds, str | None], AbstractContextManager[str | None]]
"""Surrounds the handling of a message: takes its ids and its ``traceparent``, and returns the ``traceparent``
that is passed on."""


def noop(_event: object) -> None:
    """Do nothing."""
