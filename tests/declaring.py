"""Declares a topology for a test."""

from handler.broker.addresses import connect
from handler.broker.connection import Tls
from handler.broker.topology import Topology, declare
from handler.errors import ConnectionLost

_TRIES = 5


async def declared(url: str, topology: Topology) -> None:
    """Declare everything; again where the disk stalls, and RabbitMQ could not form a queue in time."""
    for tries in range(1, _TRIES + 1):
        try:
            async with await connect([url], Tls()) as connection:
                await declare(connection, topology)
        except ConnectionLost as error:
            if tries == _TRIES or "cluster_not_formed" not in str(error):
                raise
        else:
            return
