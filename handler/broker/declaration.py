"""Declares the whole topology, and reports for each exchange, queue and binding whether it was made.

Foreign exchanges (``SNAPSHOT_BINDINGS``) are bound, never declared. Messages published there before the
binding exists are lost to us, so each binding that could not be made is named.
"""

from collections.abc import Sequence
from typing import NamedTuple

from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.refusal import why_unbound
from handler.broker.topology import Binding, Part, Topology, bind, declare

NOT_TRIED = "not tried, since an earlier part was refused"


class Made(NamedTuple):
    """An exchange, queue or binding, and why it could not be made; None where it exists."""

    part: Part
    problem: str | None = None


class Declaration(NamedTuple):
    """The result for a whole topology: our own parts, and the bindings to foreign exchanges."""

    ours: Sequence[Made]
    foreign: Sequence[Made]

    @property
    def refused(self) -> str | None:
        """Why the broker refused one of our own parts; no later part was tried."""
        return next((made.problem for made in self.ours if made.problem), None)

    @property
    def unbound(self) -> Sequence[Made]:
        """The bindings to foreign exchanges that were tried and could not be made."""
        return [made for made in self.foreign if made.problem not in (None, NOT_TRIED)]

    @property
    def complete(self) -> bool:
        """Whether every part exists."""
        return not any(made.problem for made in (*self.ours, *self.foreign))


async def make(connection: BrokerConnection, topology: Topology) -> Declaration:
    """Declare our own parts, then bind each foreign exchange, also where another could not be bound.

    Raises ``ConnectionLost`` where the connection is lost.
    """
    ours = await _make_ours(connection, topology)
    bindings = list(topology.foreign_bindings())
    if any(made.problem for made in ours):
        return Declaration(ours, [Made(binding, NOT_TRIED) for binding in bindings])
    return Declaration(ours, [Made(binding, await bind_foreign(connection, binding)) for binding in bindings])


async def bind_foreign(connection: BrokerConnection, binding: Binding) -> str | None:
    """Bind to a foreign exchange. Return why that failed; None where it is bound."""
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
    """Declare our own parts; after the first that the broker refuses, try no more."""
    made: list[Made] = []
    try:
        await declare(connection, topology, notify=lambda part: made.append(Made(part)))
    except ChannelClosed as error:
        if connection.closed.done():
            raise
        refused, *others = list(topology.ours())[len(made) :]
        made += [Made(refused, str(error)), *(Made(part, NOT_TRIED) for part in others)]
    return made
