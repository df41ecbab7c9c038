"""One connection's worth of consuming: how many messages are in hand, and which of them must be alone.

A message that came back from a vanished consumer (a *suspect*) may be the reason why it vanished. It is
handled with nothing else in hand, so that its neighbours are not counted down with it toward the broker's
delivery limit. Each connection therefore starts with a prefetch of one, until a message comes that never
came back.

Dangers:
- Nothing is ever given back: each return of a quorum queue counts toward the delivery limit.
- A message in hand when the connection is lost goes on to its end; what it did is in the ledger, and the
  redelivery tells it.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from events.decode import open_message
from events.message import Message, WaitReason, wrap
from handler.backup.breaker import CircuitBreaker
from handler.backup.ports import Outbox
from handler.backup.process import Process
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Topology, declare
from handler.errors import ConnectionLost
from handler.telemetry.counters import Counters

log = logging.getLogger(__name__)

_WAITING_PREFIX = b'{"specversion":"1.0","type":"snapshot-backup.waiting"'
_RETRY_CONSUME = 1.0
_PARK_SECONDS = 1.0
_CANCEL_SECONDS = 2.0


class ConsumerSession:
    """Consumes over one connection until it is lost or ``stop`` is set."""

    def __init__(
        self,
        *,
        connection: BrokerConnection,
        topology: Topology,
        process: Process,
        outbox: Outbox,
        breaker: CircuitBreaker,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._process = process
        self._outbox = outbox
        self._breaker = breaker
        self._counters = counters
        self._clock = clock
        self._careful = True
        self._suspects: deque[Delivery] = deque()
        self._in_hand: dict[asyncio.Task[None], float] = {}
        self._changed = asyncio.Event()
        self._consumer: Consumer | None = None
        self._ended = False

    @property
    def in_hand(self) -> int:
        """How many messages are being handled."""
        return len(self._in_hand)

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest message in hand has been handled; 0 where there is none."""
        now = self._clock()
        return max(0.0, now - next(iter(self._in_hand.values()), now))

    @property
    def consuming(self) -> bool:
        """Whether the broker is sending us messages."""
        return self._consumer is not None and self._consumer.prefetch > 0

    async def run(self, stop: asyncio.Event) -> None:
        """Consume. Returns when ``stop`` is set; raises ``ConnectionLost`` when the connection is gone."""
        stopping = asyncio.ensure_future(stop.wait())
        work = asyncio.ensure_future(self._work())
        ends: set[asyncio.Future[Any]] = {work, stopping, self._connection.closed}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Whatever the work waits for: a broker that does not answer must not keep us.
            self._ended = True
            stopping.cancel()
            work.cancel()
            await asyncio.wait({work, stopping})
        if self._connection.closed.done():
            raise self._connection.closed.result()
        if not work.cancelled():
            work.result()

    async def _work(self) -> None:
        while True:
            # Read before the limit is: a pause that ends in between would be slept through without an end.
            pause = self._breaker.pause_left()
            await self._adjust()
            await self._change(seconds=pause or None)

    async def drain(self, seconds: float) -> int:
        """Let what is in hand come to its end; return how many messages did not within ``seconds``."""
        ends_at = asyncio.get_running_loop().time() + seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _CANCEL_SECONDS)):
                await self._stop_consuming()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=ends_at - asyncio.get_running_loop().time())
        unfinished = list(self._in_hand)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return len(unfinished)

    async def _adjust(self) -> None:
        """Bring the number of messages in hand to what it should be now."""
        self._changed.clear()
        try:
            if self._suspects:
                await self._clear_suspects()
            consumer = await self._open_consumer()
            limit = self._breaker.limit
            await consumer.set_prefetch(min(limit, 1) if self._careful else limit)
        except ChannelClosed as error:
            log.warning("not consuming: %s", error, extra={"action": "consume.refused"})
            self._consumer = None
            self._changed.clear()
            await self._change(seconds=_RETRY_CONSUME)
            await self._declare_again()

    async def _declare_again(self) -> None:
        """Make what somebody has deleted; where that is refused, the next look at it says so again."""
        with contextlib.suppress(ChannelClosed):
            await declare(self._connection, self._topology)
        self._changed.set()

    async def _open_consumer(self) -> Consumer:
        if self._consumer is None or self._consumer.closed:
            self._consumer = Consumer(
                await self._connection.channel(), self._topology.queue, self._on_delivery, self._changed.set
            )
        return self._consumer

    async def _change(self, *, seconds: float | None) -> None:
        """Wait until something has changed, or ``seconds`` have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _hands_empty(self) -> None:
        """Wait until nothing is in hand."""
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    def _on_delivery(self, delivery: Delivery) -> None:
        if self._ended:
            return
        self._counters.redelivered += delivery.redelivered
        if _crashes(delivery.message, self._clock()) and not self._alone():
            self._suspects.append(delivery)
            self._changed.set()
            return
        self._start(delivery)

    def _alone(self) -> bool:
        return self._careful and not self._in_hand

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._in_hand[task] = self._clock()
        task.add_done_callback(self._in_hand.pop)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._process.handle(delivery.message)
        except ConnectionLost as error:
            log.info("left for redelivery: %s", error, extra={"action": "message.left"})
            return
        except Exception:
            log.exception("left in hand by a bug: please report it", extra={"action": "message.left"})
            return
        if not self._breaker.limit:
            await self._stop_consuming()
            self._changed.set()  # the work may sleep on without an end; now it is to end with the pause
        delivery.ack()
        if self._careful and not _crashes(delivery.message, self._clock()):
            self._careful = False
            self._changed.set()
        elif self._consumer is not None and self._consumer.prefetch != self._breaker.limit:
            self._changed.set()

    async def _stop_consuming(self) -> None:
        """Let no more come. Before an acknowledgement, which asks for the next: see ``consumer``."""
        with contextlib.suppress(ConnectionLost):
            if self._consumer is not None:
                await self._consumer.set_prefetch(0)

    async def _clear_suspects(self) -> None:
        """Handle one suspect alone; the others wait in the broker meanwhile, marked as suspects."""
        if self._consumer is not None:
            await self._consumer.set_prefetch(0)
        await self._hands_empty()
        first, *others = self._suspects
        self._suspects.clear()
        for delivery in others:
            await self._put_aside(delivery)
        self._careful = True
        if self._consumer is not None:
            # Or else this one takes its neighbours along, whose acknowledgements are still on their way.
            await self._consumer.settled()
        self._start(first)
        await self._hands_empty()

    async def _put_aside(self, delivery: Delivery) -> None:
        now = self._clock()
        original, state = open_message(delivery.message, now=now)
        reason: WaitReason = "track" if state.reason == "track" else "pause"
        crashes = _crashes(delivery.message, now)
        marked = state._replace(reason=reason, crashes=crashes, waits=state.waits + 1)
        await self._outbox.delay(wrap(original, marked, event_id=original.derived_id), seconds=_PARK_SECONDS)
        delivery.ack()


def _crashes(message: Message, now: float) -> int:
    """How many processes ended with this message in hand, as far as the broker and we have counted."""
    if not message.body.startswith(_WAITING_PREFIX):
        return message.delivery_count
    _original, state = open_message(message, now=now)
    return message.delivery_count + state.crashes
