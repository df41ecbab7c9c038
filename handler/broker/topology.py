"""The broker's topology: every exchange, queue and binding as data, and their declaration.

All parts are durable, and none is ever deleted. Quorum queues dead-letter at least once, which needs
``reject-publish``: with at-most-once dead-lettering, a killed broker lost 64 of 240 waiting messages.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from handler.broker.connection import BrokerConnection, Channel, ChannelClosed
from handler.broker.difference import Difference, difference

SNAPSHOT_COMPLETED = "snapshot.completed"
OUTCOMES = "backup.*"
"""The binding key of the outcomes queue: every outcome, and nothing else that is published there."""

DELIVERY_LIMIT = 20
"""How often a message is redelivered before the broker dead-letters it; RabbitMQ's default since 4.0."""

PARKED_SECONDS = 3600
"""How long an outcome is parked that no queue is bound for, unless a queue is bound earlier."""

READS_LIMIT = 1_000_000_000
"""How often a dead letter may be read. Since 4.0, a quorum queue without a limit of its own *drops* a message
that was redelivered 20 times, and each read counts. No one value switches the limit off everywhere: 4.x takes
-1 for no limit, and with -1 3.10.8 dropped a message that was redelivered once."""

_ACCESS_REFUSED, _LOCKED, _PRECONDITION_FAILED = 403, 405, 406
_FOR_GOOD = {
    _ACCESS_REFUSED: "AMQP_URL",
    _PRECONDITION_FAILED: "QUEUE_TYPE, SNAPSHOT_QUEUE",
    503: "AMQP_URL",
    540: "AMQP_URL",
}
"""The AMQP codes that no repetition changes, each with the settings that matter: no right, other or unknown
arguments, and methods that the broker does not have."""


class DeclarationRefused(ChannelClosed):
    """The broker refuses a declaration for good. The text names a setting and what to change."""


class Mismatch(DeclarationRefused):
    """A queue or exchange exists with other arguments; using it as it is could lose messages."""

    def __init__(self, found: Difference, outcomes_queue: str | None = None) -> None:
        effect = f": {found.effect}" if found.effect else ""
        where, remedy = _SETTINGS[found.kind], "or delete it (snapshot-backup doctor says more)"
        if (found.kind, found.name) == ("queue", outcomes_queue):
            where, effect, remedy = "--outcomes-queue", "", _BIND_YOURSELF
        super().__init__(
            f"{where}: the {found.kind} {found.name} exists with other arguments: "
            f"{found}{effect}. Use another name, {remedy}",
            _PRECONDITION_FAILED,
        )


_BIND_YOURSELF = f"or, if its consumer declared it so, bind it to RESULT_EXCHANGE for {OUTCOMES} yourself"
_SETTINGS = {
    "queue": "QUEUE_TYPE, SNAPSHOT_QUEUE",
    "exchange": "SNAPSHOT_EXCHANGE, SNAPSHOT_QUEUE, RESULT_EXCHANGE",
}


class Exchange(NamedTuple):
    """A durable exchange."""

    name: str
    type: Literal["topic", "fanout"]


class Queue(NamedTuple):
    """A durable queue."""

    name: str
    arguments: dict[str, Any]

    @property
    def quorum(self) -> bool:
        """Whether it is declared as a quorum queue."""
        return self.arguments.get("x-queue-type") == "quorum"


class Binding(NamedTuple):
    """A binding from an exchange to a queue or, where ``to_exchange``, to another exchange."""

    source: str
    destination: str
    routing_key: str = ""
    to_exchange: bool = False

    def __str__(self) -> str:
        return f"{self.source} → {self.destination}" + (
            f" for {self.routing_key}" if self.routing_key else ""
        )


Part = Exchange | Queue | Binding


class Topology(NamedTuple):
    """All exchanges, queues and bindings, named by the settings."""

    queue: str
    snapshot_exchange: str
    result_exchange: str
    delays: Sequence[int]
    quorum: bool = True
    foreign: Sequence[tuple[str, str]] = ()
    outcomes_queue: str | None = None
    """A queue for outcomes, which ``topology declare --outcomes-queue`` makes. No worker needs its name."""

    @property
    def dead(self) -> str:
        """The exchange and the queue of the dead letters."""
        return f"{self.queue}.dead"

    @property
    def dead_queue(self) -> Queue:
        """The queue of the dead letters, which may be read any number of times."""
        return Queue(self.dead, self._kept())

    @property
    def parked(self) -> str:
        """The wait queue of the messages whose outcome is unroutable.

        It is one of its own, since they return as soon as a queue is bound. With the shortest delay instead
        they would circle: 2,000 of them are 400 messages a second, for nothing.
        """
        return f"{self.queue}.wait.outcomes"

    def wait_queue(self, seconds: float) -> str:
        """Return the first wait queue whose delay is at least ``seconds``; else the last one."""
        delay = next((delay for delay in self.delays if delay >= seconds), self.delays[-1])
        return f"{self.queue}.wait.{delay}s"

    def exchanges(self) -> Iterator[Exchange]:
        """Yield our own exchanges."""
        yield Exchange(self.snapshot_exchange, "topic")
        yield Exchange(self.queue, "fanout")
        yield Exchange(self.dead, "fanout")
        yield Exchange(self.result_exchange, "topic")

    def queues(self) -> Iterator[Queue]:
        """Yield our own queues."""
        limit = {"x-delivery-limit": DELIVERY_LIMIT} if self.quorum else {}
        yield Queue(self.queue, self._arguments(self.dead) | limit)
        for delay in self.delays:
            yield Queue(self.wait_queue(delay), self._arguments(self.queue) | {"x-message-ttl": delay * 1000})
        yield Queue(self.parked, self._arguments(self.queue) | {"x-message-ttl": PARKED_SECONDS * 1000})
        yield self.dead_queue

    def bindings(self) -> Iterator[Binding]:
        """Yield the bindings between our own parts; those to foreign exchanges are in ``foreign``."""
        yield Binding(self.snapshot_exchange, self.queue, SNAPSHOT_COMPLETED, to_exchange=True)
        yield Binding(self.queue, self.queue)
        yield Binding(self.dead, self.dead)

    def ours(self) -> Iterator[Part]:
        """Yield all our own parts, in the order in which they can be declared."""
        yield from self.exchanges()
        yield from self.queues()
        yield from self.bindings()
        if self.outcomes_queue:
            yield Queue(self.outcomes_queue, self._kept())
            yield Binding(self.result_exchange, self.outcomes_queue, OUTCOMES)

    def foreign_exchanges(self) -> Iterator[str]:
        """Yield the names of the foreign exchanges. ``SNAPSHOT_BINDINGS`` may name one of our own too."""
        names = dict.fromkeys(exchange for exchange, _ in self.foreign)
        yield from (name for name in names if name not in {exchange.name for exchange in self.exchanges()})

    def foreign_bindings(self) -> Iterator[Binding]:
        """Yield the bindings of ``SNAPSHOT_BINDINGS``."""
        for exchange, routing_key in self.foreign:
            yield Binding(exchange, self.queue, routing_key, to_exchange=True)

    @property
    def _type(self) -> str:
        return "quorum" if self.quorum else "classic"

    def _kept(self) -> dict[str, Any]:
        """Return the arguments of a queue whose messages stay until a consumer acknowledges them."""
        return {"x-queue-type": self._type} | ({"x-delivery-limit": READS_LIMIT} if self.quorum else {})

    def _arguments(self, dead_letter_exchange: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "x-queue-type": self._type,
            "x-dead-letter-exchange": dead_letter_exchange,
        }
        if self.quorum:
            arguments |= {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        return arguments


def _noop(_part: Part) -> None:
    """Do nothing."""


async def declare(
    connection: BrokerConnection,
    topology: Topology,
    *,
    parts: Iterable[Part] | None = None,
    notify: Callable[[Part], None] = _noop,
) -> None:
    """Declare all our own parts, or these; ``notify`` is called with each part that exists.

    Raises ``Mismatch`` where one exists with other arguments, ``DeclarationRefused`` where the broker cannot
    make one, else ``ConnectionLost``.
    """
    require_quorum(connection, topology)
    channel = await connection.channel()
    try:
        for part in topology.ours() if parts is None else parts:
            await _declare(channel, part)
            notify(part)
    except ChannelClosed as error:
        if error.code == _LOCKED:
            text = str(error).rstrip(".")
            raise ChannelClosed(f"{text}. Use another name, or end its program", _LOCKED) from error
        if error.code == _PRECONDITION_FAILED and (found := difference(str(error))):
            raise Mismatch(found, topology.outcomes_queue) from error
        if error.code in _FOR_GOOD:
            raise DeclarationRefused(_refused_for_good(error, topology), error.code) from error
        raise
    finally:
        await channel.close()


def require_quorum(connection: BrokerConnection, topology: Topology) -> None:
    """Raise ``DeclarationRefused`` where the broker's version lacks quorum queues as they are needed."""
    if topology.quorum and (problem := connection.product.quorum_problem):
        raise DeclarationRefused(f"QUEUE_TYPE: {problem}", _PRECONDITION_FAILED)


def _refused_for_good(error: ChannelClosed, topology: Topology) -> str:
    """Return a line for a refusal that no repetition changes."""
    if error.code == _PRECONDITION_FAILED and topology.quorum and "invalid arg" in str(error):
        return (
            f"QUEUE_TYPE: the broker refuses a quorum queue: {error}. Set QUEUE_TYPE=classic, or use "
            "RabbitMQ 3.10 or later"
        )
    rights = ": give the user the right, such as rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'"
    return f"{_FOR_GOOD[error.code]}: {error}{rights if error.code == _ACCESS_REFUSED else ''}"


async def _declare(channel: Channel, part: Part) -> None:
    raw = channel.raw
    match part:
        case Exchange(name, type_):
            await channel.call(raw.exchange_declare, exchange=name, exchange_type=type_, durable=True)
        case Queue(name, arguments):
            await channel.call(raw.queue_declare, queue=name, durable=True, arguments=arguments)
        case Binding():
            await bind(channel, part)


async def bind(channel: Channel, binding: Binding) -> None:
    """Make a binding; an existing one stays as it is."""
    if binding.to_exchange:
        await channel.call(
            channel.raw.exchange_bind,
            destination=binding.destination,
            source=binding.source,
            routing_key=binding.routing_key,
        )
    else:
        await channel.call(
            channel.raw.queue_bind,
            queue=binding.destination,
            exchange=binding.source,
            routing_key=binding.routing_key,
        )
