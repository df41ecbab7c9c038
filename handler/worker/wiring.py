"""Puts a worker together. A module of its own, so that a function does not import it."""

import time

from handler.bootstrap import Parts, open_connection, topology
from handler.broker.connection import BrokerConnection
from handler.worker.routes import keep_routes
from handler.worker.session import ConsumerSession
from handler.worker.worker import Worker, WorkerServices


def make_worker(parts: Parts) -> Worker:
    """Make the worker."""
    settings = parts.settings
    return Worker(
        WorkerServices(
            connect=lambda: open_connection(settings),
            make_session=lambda connection: _session(parts, connection),
            topology=topology(settings),
            ledger=parts.ledger,
            lease_seconds=settings.lease_seconds,
            retention=settings.ledger_retention,
            drain_seconds=settings.drain_seconds,
        )
    )


async def _session(parts: Parts, connection: BrokerConnection) -> ConsumerSession:
    ignored = parts.settings.result_unroutable == "ignore"
    keys, outbox = await parts.state_keys(), parts.outbox(connection)
    return ConsumerSession(
        connection=connection,
        topology=topology(parts.settings),
        handle=parts.process(outbox, keys).handle,
        outbox=outbox,
        breaker=parts.breaker,
        clock=time.time,
        keys=keys,
        notify=parts.telemetry.redelivered,
        upkeep=None if ignored else lambda: keep_routes(outbox, parts.routes),
    )
