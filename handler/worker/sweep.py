"""The sweep: publishes waiting messages again that did not come back from the broker in time.

The ledger has what waits, and until when. What is long overdue was lost with its wait queue, or the broker
holds it back. Its recorded body goes to the queue's exchange again, and is taken again only after a growing
time. One worker sweeps at a time: it holds a lease in the ledger.

A message that only stands in a long queue is not lost. So nothing is taken before this worker has consumed
for a while without a pause and has seen the queue empty, or has consumed for very long. A copy that is
published too early does no harm: the ledger knows what was made, and the copies become one again (see
``handler.backup.delays``).

How long a message must be overdue follows from how long messages are in hand: a worker may have it in hand
instead of the broker. Where each is handled at once it is overdue after seconds. RabbitMQ 3.10 needs that:
while the node that led both a wait queue and the queue is down, it may return no message of the wait queue
at all (see handler/README.md).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from handler.backup.clouds import AnyBreaker
from handler.backup.hooks import OnOverdueWaits, OverdueWaits, noop
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.counts import count_messages
from handler.broker.outbox import BrokerOutbox, publish_again
from handler.broker.topology import Topology
from handler.broker.upkeep import renew_dead
from handler.errors import ConnectionLost, LedgerUnavailable, PublishRefused, Unroutable
from handler.ledger.waiting import Overdue, WaitingSummary

log = logging.getLogger(__name__)

_PUBLISH_SECONDS = 60.0
_STRANDED_SECONDS = 3600.0
_SHOWN = 3
_IN_HAND_FACTOR = 3
"""Another worker may have messages in hand for longer than this one does."""
_LATELY_ROUNDS = 24
_LEASE_ROUNDS = 4


class SweepTimes(NamedTuple):
    """The times of a sweep, in seconds; ``per_second`` messages are published again at most.

    If the queue is empty, a message is overdue after ``soon`` and three times the longest that one was in
    hand lately, at most after ``grace``; in any case after ``far``. It is counted after ``late``.
    ``renew`` is the time between two uses of the dead letters.
    """

    every: float = 2.5
    soon: float = 10.0
    late: float = 30.0
    grace: float = 60.0
    far: float = 3600.0
    renew: float = 1200.0
    per_second: int = 100


class SweepLedger(Protocol):
    """What a sweep needs of the ledger; see ``handler.ledger.ledger.StoredLedger``."""

    async def take_overdue(self, *, overdue: float, limit: int, lease: float) -> Sequence[Overdue] | None:
        """Take messages that have been due for so long; None where another process sweeps."""

    async def overdue_by_delay(self, overdue: float) -> Mapping[int, int]:
        """Count messages that have been due for so long, by their delay."""

    async def waiting(self, *, overdue: float, longest: float) -> WaitingSummary:
        """Count the recorded messages, and find the snapshots that have none."""


class Consuming(Protocol):
    """What a sweep needs of the consumer session beside it; see ``handler.worker.watch``."""

    @property
    def consuming(self) -> bool:
        """Whether this worker consumes."""

    def take_longest(self) -> float:
        """Return for how many seconds a message was in hand at most since the last call."""


class Sweep:
    """Sweeps over one connection after the other. ``clock`` gives monotonic seconds.

    ``tracked`` says that each backup is followed to its end by recorded messages, so that one without an end
    needs one; ``recorded`` that waiting messages are recorded at all. ``notify`` is called with what is
    overdue.
    """

    def __init__(
        self,
        ledger: SweepLedger,
        topology: Topology,
        breaker: AnyBreaker,
        *,
        tracked: bool,
        recorded: bool = True,
        notify: OnOverdueWaits = noop,
        times: SweepTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._topology = topology
        self._breaker = breaker
        self._tracked = tracked
        self._recorded = recorded
        self._notify = notify
        self._times = times or SweepTimes()
        self._clock = clock
        self._healthy_since: float | None = None
        self._renewed_at = clock()
        self._stranded_at = float("-inf")
        self._stranded = 0
        self._late: Mapping[int, int] | None = None
        self._longest: deque[float] = deque(maxlen=_LATELY_ROUNDS)
        self._late_seconds = 0
        self._late_at = float("-inf")
        self._unpublished: Sequence[Overdue] = ()

    async def run(self, connection: BrokerConnection, outbox: BrokerOutbox, session: Consuming) -> None:
        """Sweep until the connection is lost, beside the session that consumes over it."""
        try:
            await self._rounds(connection, outbox, session)
        finally:
            self._notify(OverdueWaits(None))

    async def _rounds(self, connection: BrokerConnection, outbox: BrokerOutbox, session: Consuming) -> None:
        self._healthy_since = None
        self._longest.clear()  # a lost broker kept messages in hand, which says nothing about the API
        while True:
            await asyncio.sleep(self._times.every)
            try:
                await self._round(connection, outbox, session)
            except (LedgerUnavailable, PublishRefused, Unroutable, ChannelClosed, TimeoutError) as error:
                if connection.closed.done():
                    return
                self._notify(OverdueWaits(None))
                log.warning("sweep broken off, tried again: %s", error, extra={"action": "sweep.failed"})
            except ConnectionLost:
                return
            except Exception:
                log.exception("a bug: please report it", extra={"action": "sweep.failed"})

    async def _round(self, connection: BrokerConnection, outbox: BrokerOutbox, session: Consuming) -> None:
        """Publish again what is overdue, in batches, as long as this worker consumes without a pause."""
        self._longest.append(session.take_longest())
        if self._late_seconds != connection.liveness.late:
            self._late_seconds, self._late_at = connection.liveness.late, self._clock()
        if self._unpublished and self._healthy(session) is not None:
            await self._publish(outbox, self._unpublished)
        able = (self._healthy(session) or 0.0) >= self._grace()
        # One that may not take yet, as after a lost connection, does not keep others from it.
        if await self._take(0.0, limit=0, hold=able) is None:
            self._notify(OverdueWaits(None))
            return
        await self._count_late(connection, session)
        await self._renew(connection)
        await self._report_stranded()
        while True:
            overdue = await self._overdue(connection, session)
            if overdue is None or not (taken := await self._take(overdue, limit=self._times.per_second)):
                return
            await self._publish(outbox, taken)
            await asyncio.sleep(1.0)

    async def _count_late(self, connection: BrokerConnection, session: Consuming) -> None:
        """Count what should be back. While messages stand in the queue these may be among them: not known."""
        late: Mapping[int, int] | None = None
        if self._recorded:
            late = await self._ledger.overdue_by_delay(self._times.late)
            if late and (self._healthy(session) is None or await self._ready(connection)):
                late = None
        self._late = late
        self._notify(OverdueWaits(late))

    async def _take(self, overdue: float, *, limit: int, hold: bool = True) -> Sequence[Overdue] | None:
        """Hold the sweep, and take overdue messages; None where another worker sweeps."""
        lease = _LEASE_ROUNDS * self._times.every if hold else 0.0
        return await self._ledger.take_overdue(overdue=overdue, limit=limit, lease=lease)

    def _healthy(self, session: Consuming) -> float | None:
        """Return for how long this worker has consumed, with a closed circuit breaker; None: it does not."""
        if not session.consuming or self._breaker.state != "closed":
            self._healthy_since = None
            return None
        if self._healthy_since is None:
            self._healthy_since = self._clock()
        return self._clock() - self._healthy_since

    async def _overdue(self, connection: BrokerConnection, session: Consuming) -> float | None:
        """Return for how long a message must be due to be taken now; None: none is taken."""
        lasted, grace = self._healthy(session) or 0.0, self._grace()
        if lasted >= grace and await self._is_empty(connection):
            return grace
        return self._times.far if lasted >= self._times.far else None

    def _grace(self) -> float:
        """Return after how many seconds a message is overdue: it may be in another worker's hand as long.

        Not soon where the broker answered late just now: what is published may hang, and this worker with it.
        """
        if self._clock() - self._late_at < self._times.soon:
            return self._times.grace
        return min(self._times.grace, self._times.soon + _IN_HAND_FACTOR * max(self._longest, default=0.0))

    async def _is_empty(self, connection: BrokerConnection) -> bool:
        """Wait until the queue has no ready message, for what was published just now to be delivered."""
        ends = self._clock() + self._times.every
        while await self._ready(connection):
            if self._clock() >= ends:
                return False
            await asyncio.sleep(min(1.0, self._times.every))
        return True

    async def _ready(self, connection: BrokerConnection) -> int:
        """Return how many messages are ready in the queue."""
        channel = await connection.channel()
        try:
            return await count_messages(channel, self._topology.queue)
        finally:
            await channel.close()

    async def _publish(self, outbox: BrokerOutbox, taken: Sequence[Overdue]) -> None:
        """Publish what was taken. If the connection is lost with it, the next one has it first.

        The ledger would give it again after minutes.
        """
        self._unpublished = ()
        try:
            async with asyncio.timeout(_PUBLISH_SECONDS):
                await publish_again(outbox, self._topology.queue, taken)
        except (ConnectionLost, asyncio.CancelledError):  # with its connection the sweep is cancelled
            self._unpublished = taken
            raise
        self._notify(OverdueWaits(self._late, swept=len(taken)))

    async def _renew(self, connection: BrokerConnection) -> None:
        if self._clock() - self._renewed_at >= self._times.renew:
            self._renewed_at = self._clock()
            await renew_dead(connection, self._topology)

    async def _report_stranded(self) -> None:
        """Log the snapshots that nothing can take up again, once, and again where they become more."""
        if not self._tracked or self._clock() - self._stranded_at < _STRANDED_SECONDS:
            return
        self._stranded_at = self._clock()
        longest = max(self._topology.delays) + self._times.far
        found = (await self._ledger.waiting(overdue=self._times.grace, longest=longest)).stranded
        if len(found) > self._stranded:
            log.error(
                "%d snapshots have no outcome, and no message that waits for one, such as %s: an earlier "
                "release lost them, or TRACK_BACKUPS was false. Publish their events again: what was made "
                "is found, and no second backup is made",
                len(found),
                ", ".join(key.snapshot_id for key in found[:_SHOWN]),
                extra={"action": "sweep.stranded", "snapshots": len(found)},
            )
        self._stranded = len(found)
