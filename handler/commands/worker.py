"""``snapshot-backup worker``."""

import asyncio
import gc
import logging
import sys

from handler import bootstrap, event_loop, logs
from handler.commands.common import failing_plainly
from handler.operations import watched
from handler.settings import Settings, load_settings
from handler.worker import stop_on_signals
from handler.worker_bootstrap import make_worker

log = logging.getLogger(__name__)


def worker() -> None:
    """Consume snapshot events until SIGTERM.

    Drains within DRAIN_SECONDS; a second signal ends it at once. All settings are environment variables
    (also from .env and from files in SECRETS_DIR); VBS_ENDPOINT is the one that has no default.
    """
    with failing_plainly():
        settings = load_settings()
        logs.set_up(settings.log_level, settings.log_format)
        event_loop.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    async with bootstrap.parts(settings) as parts:
        worker = make_worker(parts)
        async with watched(parts, worker):
            _tune_interpreter()
            with stop_on_signals(stop):
                log.info("consuming %s", settings.snapshot_queue, extra={"action": "worker.started"})
                left = await worker.run(stop)
        log.info("ended, %d messages left for redelivery", left, extra={"action": "worker.stopped"})


def _tune_interpreter() -> None:
    """Let the interpreter interrupt a worker less; all of it measured by ``tests.bench.throughput``.

    What has been imported is kept out of the garbage collector's rounds: with the tracing library they cost
    0.12 ms of CPU more an event, without a span made. Rounds after 700 objects meet little but the messages
    in hand: 7 % of an event; full ones stay as frequent as they are by default, for what a lost connection
    leaves. And the ledger's thread takes its turn where the loop's thread waits anyway, not
    every 5 ms: 6 to 14 % more events with 64 in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 2, 2)
    sys.setswitchinterval(0.03)
