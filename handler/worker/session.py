"""A consumer session: consuming over one connection, with as many messages in hand as there may be.

A message that was redelivered after a crash is possible poison: it may be the reason of the crash. It is
handled isolated, with nothing else in hand, so that no other message is redelivered with it toward the
broker's delivery limit. Each connection therefore starts with a prefetch of one, until a message comes that
was never redelivered.

Dangers:
- No message is returned with ``nack``: each return of a quorum queue counts toward the delivery limit.
- A message in hand when the connection is lost is handled to its end. The decision is in the ledger, and the
  redelivery publishes it.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from events.state_keys import StateKeys
from handler.backup.clouds import AnyBreaker
from handler.backup.hooks import OnRedelivered, Redelivered, noop
from handler.backup.received import Received, Receiver
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.consumer import Consumer, Delivery
from handler.broker.topology import Topology
from handler.errors import ConnectionLost
from handler.tasks import settled

log = logging.getLogger(__name__)

_RETRY_CONSUME = 1.0
_CANCEL_SECONDS = 2.0
_RESTORE_SECONDS = 5.0


class InHand(NamedTuple):
    """A message in hand: its delivery, to acknowledge, and what was received."""

    delivery: Delivery
    received: Received


class _Since(NamedTuple):
    """When a message came in hand, and the count of the seconds in which the broker answered late."""

    at: float
    late: int


class ConsumerSession:
    """Consumes over one connection until it is lost or ``stop`` is set.

    ``handle`` handles a message, ``park`` delays one unhandled, and ``restore`` has declared again what was
    deleted; ``keep_routes`` runs beside it. ``notify`` is called with each redelivery.
    """

    def __init__(
        self,
        *,
        connection: BrokerConnection,
        topology: Topology,
        handle: Callable[[Received], Awaitable[object]],
        park: Callable[[Received], Awaitable[None]],
        restore: Callable[[], Awaitable[object]],
        breaker: AnyBreaker,
        clock: Callable[[], float],
        keys: StateKeys | None,
        notify: OnRedelivered = noop,
        keep_routes: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._handle_message = handle
        self._park = park
        self._restore = restore
        self._breaker = breaker
        self._clock = clock
        self._receiver = Receiver(keys, clock)
        self._notify = notify
        self._keep_routes = keep_routes
        self._isolated = True
        self._possible_poison: deque[InHand] = deque()
        self._in_hand: dict[asyncio.Task[None], _Since] = {}
        self._changed = asyncio.Event()
        self._consumer: Consumer | None = None
        self._anew = False
        self._ended = False
        self._has_consumed = False
        self._longest = 0.0
        self.deliveries = 0

    @property
    def in_hand(self) -> int:
        """How many messages are being handled."""
        return len(self._in_hand)

    @property
    def oldest(self) -> float:
        """For how many seconds the oldest message in hand has been handled; 0 where there is none."""
        now = self._clock()
        return max(0.0, now - next((since.at for since in self._in_hand.values()), now))

    def take_longest(self) -> float:
        """Return for how many seconds a message was in hand at most since the last call, or is now.

        One that was in hand while the broker answered late is left out: it says nothing about the API.
        """
        longest = max(self._longest, *map(self._lasted, self._in_hand.values()), 0.0)
        self._longest = 0.0
        return longest

    def _lasted(self, since: _Since) -> float:
        return self._clock() - since.at if since.late == self._connection.liveness.late else 0.0

    @property
    def consuming(self) -> bool:
        """Whether the broker is sending us messages."""
        return self._consumer is not None and self._consumer.prefetch > 0

    @property
    def consumers(self) -> int:
        """How many consumers the broker should know of this session."""
        return self._consumer.tags if self._consumer else 0

    def consume_anew(self) -> None:
        """Cancel the consumers and begin again: the broker may have forgotten them without a cancel."""
        self._anew = True
        self._changed.set()

    def adjust_soon(self) -> None:
        """Bring the number of messages in hand to what it should be: the limit has changed."""
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Consume. Returns when ``stop`` is set; raises ``ConnectionLost`` when the connection is gone."""
        stopping = asyncio.ensure_future(stop.wait())
        work = asyncio.ensure_future(self._work())
        chores = [asyncio.create_task(self._keep_routes())] if self._keep_routes else []
        ends: set[asyncio.Future[Any]] = {work, stopping, self._connection.closed}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Whatever the work waits for: a broker that does not answer must not keep us.
            self._ended = True
            self._connection.liveness.answered(self)
            stopping.cancel()
            work.cancel()
            for task in chores:
                task.cancel()
            await settled([work, stopping, *chores])
        if self._connection.closed.done():
            raise self._connection.closed.result()
        if not work.cancelled():
            work.result()

    async def _work(self) -> None:
        while True:
            # Read the pause first; if it expired between both reads, we would wait forever.
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
            if self._possible_poison:
                await self._handle_possible_poison()
            if self._anew:
                self._anew = False
                await self._leave_channel()
            # Until it succeeds: a node that is cut off from the others refuses, and another node may not.
            self._connection.liveness.expect(self, "consuming")
            consumer = await self._open_consumer()
            limit = self._breaker.limit
            await consumer.set_prefetch(min(limit, 1) if self._isolated else limit)
            self._connection.liveness.answered(self)
            self._log_first(consumer)
        except ChannelClosed as error:
            log.warning("not consuming: %s", error, extra={"action": "consume.refused"})
            self._consumer = None
            self._changed.clear()
            await self._change(seconds=_RETRY_CONSUME)
            await self._declare_again()

    def _log_first(self, consumer: Consumer) -> None:
        """Log that the session consumes, once the broker has confirmed it."""
        if consumer.prefetch and not self._has_consumed:
            self._has_consumed = True
            log.info("consuming %s", self._topology.queue, extra={"action": "consume.started"})

    async def _declare_again(self) -> None:
        """Have declared again what was deleted; the next attempt to consume logs a refusal."""
        with contextlib.suppress(ChannelClosed, TimeoutError):
            # While a node of a cluster stands still, nothing can be declared; what exists can be consumed.
            async with asyncio.timeout(_RESTORE_SECONDS):
                await self._restore()
        self._changed.set()

    async def _open_consumer(self) -> Consumer:
        if self._consumer is None or self._consumer.closed:
            self._consumer = Consumer(
                await self._connection.channel(), self._topology.queue, self._on_delivery, self._changed.set
            )
        return self._consumer

    async def _leave_channel(self) -> None:
        """Stop consuming, and close the channel once nothing is in hand; the next consumer opens another.

        A channel of RabbitMQ 3.10 may get nothing from a quorum queue that was deleted and made again.
        """
        await self._stop_consuming()
        await self._hands_empty()
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.close()

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
        self.deliveries += 1
        if delivery.redelivered:
            self._notify(Redelivered(delivery.message.delivery_count))
        message = InHand(delivery, self._receiver.receive(delivery.message))
        if message.received.crashes and not self._alone():
            self._possible_poison.append(message)
            self._changed.set()
            return
        self._start(message)

    def _alone(self) -> bool:
        return self._isolated and not self._in_hand

    def _start(self, message: InHand) -> None:
        task = asyncio.create_task(self._handle(message))
        self._in_hand[task] = _Since(self._clock(), self._connection.liveness.late)
        task.add_done_callback(self._out_of_hand)

    def _out_of_hand(self, task: asyncio.Task[None]) -> None:
        self._longest = max(self._longest, self._lasted(self._in_hand.pop(task)))

    async def _handle(self, message: InHand) -> None:
        delivery, received = message
        try:
            await self._handle_message(received)
        except ConnectionLost as error:
            log.info("left for redelivery: %s", error, extra={"action": "message.left"})
            return
        except Exception:
            log.exception("left in hand by a bug: please report it", extra={"action": "message.left"})
            return
        if not self._breaker.limit:
            await self._stop_consuming()
            self._changed.set()  # ends a wait without an end: the next one ends with the pause
        delivery.ack()
        if self._isolated and not received.crashes:
            self._isolated = False
            self._changed.set()
        elif self._consumer is not None and self._consumer.prefetch != self._breaker.limit:
            self._changed.set()

    async def _stop_consuming(self) -> None:
        """Stop consuming before an acknowledgement, which asks for the next message: see ``consumer``."""
        with contextlib.suppress(ConnectionLost):
            if self._consumer is not None:
                await self._consumer.set_prefetch(0)

    async def _handle_possible_poison(self) -> None:
        """Handle one possible poison message isolated; park the others, with their crash counts."""
        if self._consumer is not None:
            await self._consumer.set_prefetch(0)
        await self._hands_empty()
        first, *others = self._possible_poison
        self._possible_poison.clear()
        for message in others:
            await self._park(message.received)
            message.delivery.ack()
        self._isolated = True
        if self._consumer is not None:
            # If this message crashes the process, acknowledgements not flushed yet would be redelivered.
            await self._consumer.settled()
        self._start(first)
        await self._hands_empty()
