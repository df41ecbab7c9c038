"""Checks of the user's rights at the broker: to configure, write and read what a worker uses."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pika

from handler.broker.connection import BrokerConnection, ChannelClosed
from handler.broker.publisher import Publisher
from handler.broker.refusal import DENIED, denied_right
from handler.broker.topology import Binding, Topology
from handler.doctor.findings import Finding
from handler.doctor.probe import (
    ACCESS_REFUSED,
    INVALID_CONSUMER,
    INVALID_EXCHANGE,
    INVALID_QUEUE,
    ask,
    refused,
    unused_key,
)
from handler.errors import Unroutable

_PUBLISH_SECONDS = 5.0


async def examine_rights(connection: BrokerConnection, topology: Topology) -> AsyncIterator[Finding]:
    """Yield a finding for each missing right, or one that all rights are there."""
    missing = [found async for found in _missing(connection, topology)]
    for right, thing in dict.fromkeys(missing):
        yield Finding(
            "broker",
            f"right to {right}",
            "bad",
            f"the user may not {right} {thing}",
            f"rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ: {right.upper()} must match it",
        )
    if not missing:
        yield Finding(
            "broker", "rights", "ok", "the user may configure, write and read everything that a worker uses"
        )


async def _missing(connection: BrokerConnection, topology: Topology) -> AsyncIterator[tuple[str, str]]:
    async for found in _configure(connection, topology):
        yield found
    for binding in (*topology.bindings(), *topology.foreign_bindings()):
        answer = await _unbind(connection, binding)
        if refused(answer, ACCESS_REFUSED):
            yield denied_right(binding, str(answer))
    outcomes = Binding(topology.snapshot_exchange, topology.result_exchange, to_exchange=True)
    answer = await _unbind(connection, outcomes)
    if refused(answer, ACCESS_REFUSED) and denied_right(outcomes, str(answer))[0] == "write":
        yield "write", f"exchange {topology.result_exchange}"
    answer = await ask(
        connection,
        "basic_consume",
        queue=topology.queue,
        on_message_callback=_nothing,
        arguments=INVALID_CONSUMER,
    )
    if refused(answer, ACCESS_REFUSED):
        yield "read", f"queue {topology.queue}"
    if await _default_exchange_refused(connection):
        yield (
            "write",
            "exchange amq.default (the default exchange, through which messages reach the wait queues)",
        )


async def _configure(connection: BrokerConnection, topology: Topology) -> AsyncIterator[tuple[str, str]]:
    for exchange in topology.exchanges():
        arguments: dict[str, Any] = {"exchange": exchange.name, "exchange_type": exchange.type}
        answer = await ask(
            connection, "exchange_declare", durable=True, arguments=INVALID_EXCHANGE, **arguments
        )
        if refused(answer, ACCESS_REFUSED):
            yield "configure", f"exchange {exchange.name}"
    for queue in topology.queues():
        wanted = queue.arguments | INVALID_QUEUE
        answer = await ask(connection, "queue_declare", queue=queue.name, durable=True, arguments=wanted)
        if refused(answer, ACCESS_REFUSED):
            yield _missing_right(str(answer), queue.name)


def _missing_right(text: str, queue: str) -> tuple[str, str]:
    """Return the missing right of a queue declaration.

    A queue with a dead-letter exchange also needs the rights to write to that exchange and to read the queue.
    """
    match = re.search(DENIED, text)
    if match and match["kind"] == "exchange":
        return "write", f"exchange {match['name']}"
    return ("read" if "read access" in text else "configure"), f"queue {queue}"


async def _unbind(connection: BrokerConnection, binding: Binding) -> object:
    """Unbind a binding that does not exist: this needs the same rights as binding, and changes nothing."""
    if binding.to_exchange:
        names: Mapping[str, str] = {"destination": binding.destination, "source": binding.source}
        return await ask(connection, "exchange_unbind", routing_key=unused_key(), **names)
    names = {"queue": binding.destination, "exchange": binding.source}
    return await ask(connection, "queue_unbind", routing_key=unused_key(), **names)


async def _default_exchange_refused(connection: BrokerConnection) -> bool:
    """Publish to a queue that does not exist; the broker returns the message. Raises ``TimeoutError``."""
    channel = await connection.channel()
    try:
        publisher = await Publisher.open(channel)
        async with asyncio.timeout(_PUBLISH_SECONDS):
            await publisher.publish("", unused_key(), b"", pika.BasicProperties())
    except Unroutable:
        return False
    except ChannelClosed as error:
        if error.code != ACCESS_REFUSED:
            raise
        return True
    finally:
        await channel.close()
    return False


def _nothing(*_: object) -> None:
    """Ignore a delivery; the broker refuses this consumer, so none arrives."""
