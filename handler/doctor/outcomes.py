"""Checks whether outcomes reach a queue, and how many wait because they do not."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from events.outcome import TYPES, probe
from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.publisher import Publisher
from handler.broker.routes import BIND, EXPIRED, probe_routes, refused
from handler.broker.topology import Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import ask
from handler.errors import OutcomeRefused, PublishRefused, Unroutable

_SECONDS = 5.0


async def examine_outcomes(
    connection: BrokerConnection, topology: Topology, unroutable: Literal["wait", "ignore"]
) -> AsyncIterator[Finding]:
    """Yield a finding on the queues behind ``RESULT_EXCHANGE``; none if nothing can be published there."""
    what = f"outcomes of {topology.result_exchange}"
    parked = await _parked(connection, topology)
    try:
        missing = await _missing(connection, topology)
    except (ChannelClosed, TimeoutError):
        # The exchange does not exist, may not be written to, or is blocked: other checks say so.
        return
    if not missing:
        waiting = f"; {parked} that waited follow within seconds while a worker runs" if parked else ""
        yield Finding("broker", what, "ok", f"a queue is bound for each type{waiting}")
    elif unroutable == "ignore":
        text = f"{_why(missing)}; RESULT_UNROUTABLE=ignore: they are counted and dropped"
        yield Finding("broker", what, "ok", text)
    else:
        text = f"{_why(missing)}; such events wait until one is: {parked} or more wait now"
        remedy = f"run {BIND}, bind a queue of your own, or set RESULT_UNROUTABLE=ignore"
        if any(map(refused, missing.values())):
            remedy = f"make room in the queues that are bound to {topology.result_exchange}"
        yield Finding("broker", what, "bad" if parked else "warning", text, remedy)


def _why(missing: Mapping[str, Unroutable]) -> str:
    types = "any type" if len(missing) == len(TYPES) else ", ".join(missing)
    refusals = any(map(refused, missing.values()))
    return f"a bound queue refuses outcomes of {types}" if refusals else f"no queue is bound for {types}"


async def _parked(connection: BrokerConnection, topology: Topology) -> int:
    answer: Any = await ask(connection, "queue_declare", queue=topology.parked, passive=True)
    return 0 if isinstance(answer, ChannelClosed) else int(answer.method.message_count)


async def _missing(connection: BrokerConnection, topology: Topology) -> Mapping[str, Unroutable]:
    """Ask by a probe, as a worker does at start: a message that expires at once."""
    channel = await connection.channel()
    try:
        publisher = await Publisher.open(channel)

        async def publish(key: str) -> None:
            try:
                await publisher.publish(topology.result_exchange, key, probe(), EXPIRED)
            except PublishRefused as error:
                raise OutcomeRefused(str(error)) from error

        async with asyncio.timeout(_SECONDS):
            return await probe_routes(publish)
    finally:
        await channel.close()
