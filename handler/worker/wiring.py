"""Puts the worker together: a module of its own, since a function has none and would wait for the imports."""

import time

from handler.bootstrap import Parts, open_link, topology
from handler.broker.link import Link
from handler.worker.session import Shift
from handler.worker.worker import Worker, WorkerServices


def make_worker(parts: Parts) -> Worker:
    """Make the worker."""
    settings = parts.settings
    return Worker(
        WorkerServices(
            connect=lambda: open_link(settings),
            make_shift=lambda link: _shift(parts, link),
            topology=topology(settings),
            ledger=parts.ledger,
            lease_seconds=settings.lease_seconds,
            retention=settings.ledger_retention,
            drain_seconds=settings.drain_seconds,
        )
    )


def _shift(parts: Parts, link: Link) -> Shift:
    outbox = parts.outbox(link)
    return Shift(
        link=link,
        topology=topology(parts.settings),
        process=parts.process(outbox),
        outbox=outbox,
        breaker=parts.breaker,
        figures=parts.telemetry.figures,
        clock=time.time,
    )
