"""``snapshot-backup worker``: consumes snapshot events until it is stopped."""

import asyncio
import logging

from handler import bootstrap
from handler.commands.common import failing_plainly
from handler.settings import Settings, load
from handler.status.monitoring import monitored
from handler.telemetry import logs
from handler.worker import event_loop
from handler.worker.wiring import make_worker
from handler.worker.worker import stop_on_signals

log = logging.getLogger(__name__)


def worker() -> None:
    """Consume snapshot events until SIGTERM.

    After SIGTERM it finishes messages in progress within DRAIN_SECONDS; a second
    signal ends it at once.

    All settings are environment variables, also read from .env and from files in
    SECRETS_DIR. VBS_ENDPOINT is the only one without a default.
    """
    with failing_plainly():
        settings, sources = load()
        logs.set_up(settings.log_level, settings.log_format)
        bootstrap.warn_of_unknown_names(sources)
        event_loop.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    async with bootstrap.parts(settings) as parts:
        worker = make_worker(parts)
        async with monitored(parts, worker):
            event_loop.tune_interpreter()
            with stop_on_signals(stop):
                log.info("started, connecting to RabbitMQ", extra={"action": "worker.started"})
                left = await worker.run(stop)
        log.info("stopped, %d messages left for redelivery", left, extra={"action": "worker.stopped"})
