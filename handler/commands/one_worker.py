"""One worker process of ``snapshot-backup worker``: alone, or under a supervisor.

A module of its own, so that a supervisor does not import what only its workers need.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from handler import bootstrap
from handler.settings import Loaded, Settings
from handler.status.monitoring import monitored
from handler.status.server import Page, healthy
from handler.supervisor.channel import answering
from handler.supervisor.child import Membership
from handler.worker import event_loop
from handler.worker.wiring import make_worker
from handler.worker.worker import Worker, stop_on_signals

log = logging.getLogger(__name__)


def run(loaded: Loaded, membership: Membership | None) -> None:
    """Consume until a signal comes, or until the supervisor ends. Raises ``SettingsError``."""
    if membership is None or membership.number == 1:  # the same for all
        bootstrap.warn_of_unknown_names(loaded.sources)
    event_loop.run(_work(loaded.settings, membership))


async def _work(settings: Settings, membership: Membership | None) -> None:
    stop = asyncio.Event()
    async with bootstrap.parts(settings) as parts:
        worker = make_worker(parts)
        async with _monitored(parts, worker, membership, stop):
            event_loop.tune_interpreter()
            with stop_on_signals(stop, second_ends=membership is None):
                log.info("started, connecting to RabbitMQ", extra={"action": "worker.started"})
                left = await worker.run(stop)
        log.info("stopped, %d messages left for redelivery", left, extra={"action": "worker.stopped"})


@asynccontextmanager
async def _monitored(
    parts: bootstrap.Parts, worker: Worker, membership: Membership | None, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Serve the pages of this process: at ``HTTP_ADDRESS``, or to the supervisor, whose end is a stop too."""
    if membership is None:
        async with monitored(parts, worker):
            yield
        return
    served: dict[str, Page] = {"/healthz": healthy}

    @asynccontextmanager
    async def serve(_address: str, pages: Mapping[str, Page]) -> AsyncIterator[None]:
        served.update(pages)
        yield

    def orphaned() -> None:
        log.warning(
            "the supervisor has ended: finishing what is in hand", extra={"action": "supervisor.missing"}
        )
        stop.set()

    async with monitored(parts, worker, listen=serve), answering(membership.socket, served, orphaned):
        yield
