"""Puts a worker together. A module of its own, so that a function does not import it."""

import time
from functools import partial

from handler.bootstrap import Parts, addresses, topology
from handler.broker.connection import BrokerConnection
from handler.broker.upkeep import Upkeep
from handler.worker.reporter import Reporter
from handler.worker.routes import keep_routes
from handler.worker.session import ConsumerSession
from handler.worker.sweep import Sweep, SweepTimes
from handler.worker.worker import CHECK_SECONDS, Worker, WorkerServices

_PARK_SECONDS = 1.0


def make_worker(
    parts: Parts, *, sweep_times: SweepTimes | None = None, check_seconds: float = CHECK_SECONDS
) -> Worker:
    """Make the worker; its times are shorter in tests."""
    settings, names = parts.settings, topology(parts.settings)
    upkeep = Upkeep(names, recorded=parts.ledger.records_waiting)
    # Without records each backup in progress would seem to have no message.
    tracked = settings.track_backups and parts.ledger.records_waiting
    sweep = Sweep(
        parts.ledger,
        names,
        parts.breaker,
        tracked=tracked,
        recorded=parts.ledger.records_waiting,
        notify=parts.telemetry.waits_seen,
        times=sweep_times,
    )
    worker = Worker(
        WorkerServices(
            connect=addresses(settings, moving=True).connect,
            make_session=lambda connection: _session(parts, connection, upkeep),
            topology=names,
            ledger=parts.ledger,
            control=parts.control,
            lease_seconds=settings.lease_seconds,
            retention=settings.ledger_retention,
            drain_seconds=settings.drain_seconds,
            upkeep=upkeep,
            check_seconds=check_seconds,
            sweep=lambda connection, session: sweep.run(
                connection, parts.outbox(connection, upkeep), session
            ),
        )
    )
    parts.control.report = Reporter(worker, parts.breaker, parts.control.current).report
    return worker


async def _session(parts: Parts, connection: BrokerConnection, upkeep: Upkeep) -> ConsumerSession:
    ignored = parts.settings.result_unroutable == "ignore"
    await parts.control.begin()
    keys, names = await parts.state_keys(), topology(parts.settings)
    outbox = parts.outbox(connection, upkeep)
    if parts.clouds:
        parts.clouds.learn()
    # Only quorum queues count redeliveries.
    process = parts.process(outbox, keys, drop_copies=names.quorum)
    return ConsumerSession(
        connection=connection,
        topology=names,
        handle=process.handle,
        restore=partial(upkeep.restore, connection),
        park=partial(process.park, seconds=_PARK_SECONDS),
        breaker=parts.breaker,
        clock=time.time,
        keys=keys,
        notify=parts.telemetry.redelivered,
        keep_routes=None if ignored else lambda: keep_routes(outbox, parts.routes),
    )
