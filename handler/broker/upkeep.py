"""Upkeep of the topology: checks that all of it exists, makes again what is missing, and says what was lost.

A queue may disappear while workers run: an operator or a policy (``expires``) deletes it, with its messages.
RabbitMQ does not always cancel the consumers of such a queue.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pika.spec import Basic

from handler.broker.connection import BrokerConnection, Channel, ChannelClosed
from handler.broker.counts import count
from handler.broker.topology import Exchange, Queue, Topology, declare

log = logging.getLogger(__name__)

_NOT_FOUND = 404


class Seen(NamedTuple):
    """An exchange or a queue at a check; of a queue, its ready messages and its consumers too.

    ``counted`` is false where the broker may not know these numbers.
    """

    part: Exchange | Queue
    exists: bool
    messages: int = 0
    consumers: int = 0
    counted: bool = True


class _Held(NamedTuple):
    """How many messages a queue held at a check."""

    messages: int
    at: float


class Upkeep:
    """Checks and restores a topology; remembers across connections what each queue held.

    ``recorded`` says that the ledger has what waits. ``missing`` has the input queue or its exchange while
    either does not exist, and ``remade`` counts how often the input queue was made again.
    """

    def __init__(
        self, topology: Topology, *, recorded: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.missing: Sequence[str] = ()
        self.remade = 0
        self._topology = topology
        self._recorded = recorded
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._lock = asyncio.Lock()
        self._restored_at = float("-inf")

    async def restore(self, connection: BrokerConnection) -> Sequence[Seen]:
        """Check everything, and make again what is missing, bindings too; return what the check saw.

        A passive declaration also renews the lease of a classic queue under a policy with ``expires``. Of
        calls at the same time one does the work, and the others return nothing.

        Raises:
            ChannelClosed: the broker refuses a part (a ``Mismatch``), or does not answer.
            ConnectionLost: the connection is lost.

        """
        asked = self._clock()
        async with self._lock:
            if self._restored_at > asked:
                return ()
            seen = await inspect(connection, self._topology)
            gone = [each.part for each in seen if not each.exists]
            self.missing = [_words(part) for part in gone if part.name == self._topology.queue]
            for part in gone:
                self._report(part)
            # Not everything: what is deleted meanwhile would be made again and not reported.
            await declare(connection, self._topology, parts=(*gone, *self._topology.bindings()))
            self.missing = ()
            self.remade += any(isinstance(part, Queue) and part.name == self._topology.queue for part in gone)
            self._restored_at = now = self._clock()
            self._held |= {
                each.part.name: _Held(each.messages, now)
                for each in seen
                if isinstance(each.part, Queue) and each.counted
            }
            log.debug(
                "every exchange, queue and binding of ours exists",
                extra={
                    "action": "topology.checked",
                    "held": {name: held.messages for name, held in self._held.items()},
                },
            )
            return seen

    def _report(self, part: Exchange | Queue) -> None:
        held = self._held.get(part.name) if isinstance(part, Queue) else None
        log.error(
            "%s is gone, and is declared again: a client or a policy of the broker deleted it%s",
            _words(part),
            self._lost(part, held) if isinstance(part, Queue) else self._unrouted(part),
            extra={"action": "topology.missing", "messages": held.messages if held else None},
        )

    def _lost(self, queue: Queue, held: _Held | None) -> str:
        if held is None:
            return ". It was not checked before, so what it held is not known"
        ago = f"{self._clock() - held.at:.0f} s ago"
        if queue.name == self._topology.dead:
            return (
                f". At the last check, {ago}, it held {held.messages} dead letters, which are lost with it; "
                "their outcomes are published"
            )
        if queue.name == self._topology.queue:
            return (
                f". At the last check, {ago}, {held.messages} messages were ready in it. Events among them "
                "that had never waited are lost: have their producer publish them again"
            )
        fate = (
            "the ledger has them, and they are published again soon after their time"
            if self._recorded
            else "they are lost, since LEDGER_URL=none records none"
        )
        return f". At the last check, {ago}, {held.messages} messages waited in it: {fate}"

    def _unrouted(self, exchange: Exchange) -> str:
        if exchange.name in (self._topology.queue, self._topology.snapshot_exchange):
            return ". Events that were published meanwhile are lost: have their producer publish them again"
        return ""


def _words(part: Exchange | Queue) -> str:
    kind = "queue" if isinstance(part, Queue) else f"{part.type} exchange"
    return f"the {kind} {part.name}"


async def inspect(connection: BrokerConnection, topology: Topology) -> Sequence[Seen]:
    """Look at all our exchanges and queues by passive declarations. Raises as ``Upkeep.restore`` does."""
    channel = await connection.channel()
    seen: list[Seen] = []
    try:
        for part in _parts(topology):
            try:
                seen.append(await _look(channel, part))
            except ChannelClosed as error:
                if error.code != _NOT_FOUND:
                    raise
                seen.append(Seen(part, exists=False))
                channel = await connection.channel()
    finally:
        await channel.close()
    return seen


def _parts(topology: Topology) -> Iterator[Exchange | Queue]:
    yield from topology.exchanges()
    yield from topology.queues()


async def _look(channel: Channel, part: Exchange | Queue) -> Seen:
    if isinstance(part, Exchange):
        await channel.call(channel.raw.exchange_declare, exchange=part.name, passive=True)
        return Seen(part, exists=True)
    counts = await count(channel, part.name)
    return Seen(part, exists=True, messages=counts.messages, consumers=counts.consumers, counted=counts.known)


async def renew_dead(connection: BrokerConnection, topology: Topology) -> None:
    """Read one dead letter and give it back, so that a policy with ``expires`` does not delete the queue.

    A declaration renews the lease of a classic queue only; a quorum queue is used where it is read (tried on
    3.10.8). The dead letter goes to the end of the queue. So this is for every now and then, and the wait
    queues are left alone: there a message would come back too late. A queue with a consumer is in use.
    Raises ``ConnectionLost``.
    """
    queue = topology.dead_queue
    if not queue.quorum:
        return
    channel = await connection.channel()
    try:
        seen = await _look(channel, queue)
        if seen.messages and not seen.consumers:
            tag = await channel.call(lambda callback: _get(channel, queue.name, callback))
            if tag is not None:
                channel.raw.basic_nack(tag, requeue=True)
    finally:
        await channel.close()


def _get(channel: Channel, queue: str, callback: Callable[[int | None], None]) -> None:
    """Read one message; the callback gets its delivery tag, or None where the queue is empty."""
    channel.raw.add_callback(lambda _frame: callback(None), [Basic.GetEmpty])
    channel.raw.basic_get(queue, lambda _raw, method, _properties, _body: callback(method.delivery_tag))
