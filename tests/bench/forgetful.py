"""The worker without a ledger and without lookups, to measure the cost of the ledger.

Run as ``python -m tests.bench.forgetful``, with the worker's settings. Copies of an event in flight still
lead to one backup. Finished events are forgotten at once: in memory they would cost garbage collection (4 %
of the time for 30,000 events), which no ledger on disk has.
"""

import asyncio

from handler import bootstrap
from handler.ledger.memory import MemoryLedger
from handler.settings import load_settings
from handler.worker import event_loop
from handler.worker.wiring import make_worker


async def run() -> None:
    settings = load_settings()
    async with bootstrap.parts(settings) as parts:
        ledger = MemoryLedger(lease_seconds=settings.lease_seconds, max_idle=0)
        event_loop.tune_interpreter()
        await make_worker(parts._replace(ledger=ledger)).run(asyncio.Event())


if __name__ == "__main__":
    event_loop.run(run())
