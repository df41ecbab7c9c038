"""Makes the whole topology, and says of each exchange, queue and binding whether it was made.

Other people's exchanges are bound, never declared. What such an exchange publishes before it is bound is lost
to us, so that each binding that could not be made has to be named.
"""

from collections.abc import Sequence
from typing import NamedTuple

from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.refusal import why_unbound
from handler.broker.topology import Binding, Part, Topology, bind, declare

NOT_TRIED = "not tried after what was refused before"


class Made(NamedTuple):
    """An exchange, queue or binding, and why it could not be made; None: it is there."""

    part: Part
    problem: str | None = None


class Declaration(NamedTuple):
    """What became of a topology: all that is ours, then the bindings to other people's exchanges."""

    ours: Sequence[Made]
    foreign: Sequence[Made]

    @property
    def refused(self) -> str | None:
        """Why the broker refused something of ours; nothing was tried after it."""
        return next((made.problem for made in self.ours if made.problem), None)

    @property
    def unbound(self) -> Sequence[Made]:
        """The bindings to other people's exchanges that were tried and could not be made."""
        return [made for made in self.foreign if made.problem not in (None, NOT_TRIED)]

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return not any(made.problem for made in (*self.ours, *self.foreign))


async def make(connection: BrokerConnection, topology: Topology) -> Declaration:
    """Declare all that is ours, then bind each foreign exchange, whatever became of the others.

    Raises ``ConnectionLost`` where the connection is gone.
    """
    ours = await _make_ours(connection, topology)
    bindings = list(topology.foreign_bindings())
    if any(made.problem for made in ours):
        return Declaration(ours, [Made(binding, NOT_TRIED) for binding in bindings])
    return Declaration(ours, [Made(binding, await bind_foreign(connection, binding)) for binding in bindings])


async def bind_foreign(connection: BrokerConnection, binding: Binding) -> str | None:
    """Bind to somebody else's exchange, which is never declared. Return why it could not be done."""
    channel = await connection.channel()
    try:
        await bind(channel, binding)
    except ChannelClosed as error:
        if connection.closed.done():
            raise
        return why_unbound(binding, error)
    finally:
        await channel.close()
    return None


async def _make_ours(connection: BrokerConnection, topology: Topology) -> Sequence[Made]:
    """Declare what is ours; what follows the first that the broker refuses is not tried."""
    made: list[Made] = []
    try:
        await declare(connection, topology, notify=lambda part: made.append(Made(part)))
    except ChannelClosed as error:
        if connection.closed.done():
            raise
        refused, *others = list(topology.ours())[len(made) :]
        made += [Made(refused, str(error)), *(Made(part, NOT_TRIED) for part in others)]
    return made
