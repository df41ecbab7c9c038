"""A worker whose sweep and checks of the topology take seconds instead of minutes.

Run as ``python -m tests.chaos.quick_worker``, with a worker's settings.
"""

import asyncio

from handler import bootstrap
from handler.ledger import waiting
from handler.settings import load_settings
from handler.telemetry import logs
from handler.worker import event_loop
from handler.worker.sweep import SweepTimes
from handler.worker.wiring import make_worker
from handler.worker.worker import stop_on_signals

TIMES = SweepTimes(every=0.5, soon=2.0, grace=2.0, far=30.0, renew=1.0)
CHECK_SECONDS = 1.0
FIRST_INTERVAL = 10.0
"""A message that a killed sweep has taken and not published is taken again after so many seconds."""


async def run() -> None:
    """Run the worker until it is stopped."""
    waiting.FIRST_INTERVAL = FIRST_INTERVAL
    settings = load_settings()
    logs.set_up(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    async with bootstrap.parts(settings) as parts:
        with stop_on_signals(stop):
            await make_worker(parts, sweep_times=TIMES, check_seconds=CHECK_SECONDS).run(stop)


if __name__ == "__main__":
    event_loop.run(run())
