"""Checks of the broker: connection, version, topology, rights and foreign exchanges."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from handler import bootstrap
from handler.broker.connection import SETTING, BrokerConnection
from handler.broker.declaration import Declaration, make
from handler.broker.product import Product
from handler.causes import explain
from handler.doctor.findings import Finding, State
from handler.doctor.foreign import examine_foreign
from handler.doctor.outcomes import examine_outcomes
from handler.doctor.policies import examine_policies
from handler.doctor.queues import examine_queues
from handler.doctor.rights import examine_rights
from handler.doctor.workers import workers_of
from handler.errors import ConnectionLost
from handler.settings import Settings


async def examine_broker(settings: Settings, *, declare: bool) -> AsyncIterator[Finding]:
    """Check each address of ``AMQP_URL``, and everything else over the first connection that succeeds."""
    attempts = await asyncio.gather(*(_try(settings, url) for url in settings.amqp_url))
    connections = [connection for connection in attempts if isinstance(connection, BrokerConnection)]
    try:
        for url, connection in zip(settings.amqp_url, attempts, strict=True):
            yield _reached(url, connection, another_reachable=bool(connections))
        if connections:
            async for finding in _through(connections[0], settings, declare=declare):
                yield finding
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


async def _try(settings: Settings, url: SecretStr) -> BrokerConnection | ConnectionLost:
    try:
        return await bootstrap.open_connection(settings.model_copy(update={"amqp_url": (url,)}))
    except ConnectionLost as error:
        return error


def _reached(
    url: SecretStr, connection: BrokerConnection | ConnectionLost, *, another_reachable: bool
) -> Finding:
    parts = urlsplit(url.get_secret_value())
    what = f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"
    if isinstance(connection, BrokerConnection):
        tls = " over TLS" if parts.scheme == "amqps" else ""
        return Finding(
            "broker", what, "ok", f"signed in{tls}, virtual host {connection.raw.params.virtual_host}"
        )
    text, remedy = explain(SETTING, connection.reason)
    return Finding("broker", what, "warning" if another_reachable else "bad", text, remedy)


async def _through(
    connection: BrokerConnection, settings: Settings, *, declare: bool
) -> AsyncIterator[Finding]:
    yield version(connection.product, quorum=settings.queue_type == "quorum")
    topology = bootstrap.topology(settings)
    declaration = await make(connection, topology) if declare else None
    if declaration:
        yield _declared(declaration)
    async for finding in examine_queues(connection, topology, await workers_of(settings)):
        yield finding
    vhost = str(connection.raw.params.virtual_host)
    async for finding in examine_policies(settings, topology, vhost):
        yield finding
    if not declaration:
        text = (
            "AMQP cannot list bindings; topology declare, doctor --declare and each worker at start make them"
        )
        yield Finding("broker", "bindings", "ok", text)
    try:
        async for finding in examine_rights(connection, topology):
            yield finding
    except TimeoutError:
        yield _cannot_publish(connection)
    async for finding in examine_outcomes(connection, topology, settings.result_unroutable):
        yield finding
    async for finding in examine_foreign(connection, topology, declaration):
        yield finding


def version(found: Product, *, quorum: bool) -> Finding:
    """Return a finding on product and version."""
    problems: Sequence[tuple[State, str | None]] = (
        ("bad", found.quorum_problem if quorum else None),
        ("warning", found.doubt(quorum=quorum)),
    )
    for state, problem in problems:
        if problem:
            text, _, remedy = problem.partition(". ")
            return Finding("broker", "version", state, text, remedy)
    return Finding("broker", "version", "ok", str(found))


def _declared(declaration: Declaration) -> Finding:
    if declaration.refused:
        return Finding("broker", "declare", "bad", declaration.refused, "see the lines below")
    return Finding("broker", "declare", "ok", "every exchange, queue and binding of this program exists now")


def _cannot_publish(connection: BrokerConnection) -> Finding:
    why = (
        "the broker blocks publishers"
        if connection.blocked
        else "the broker does not confirm a published message"
    )
    remedy = "check its memory and disk alarms: rabbitmq-diagnostics alarms"
    return Finding("broker", "publishing", "bad", why, remedy)
