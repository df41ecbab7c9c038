"""The worker without a ledger and without look-ups: what the promises of the ledger are measured against.

Run as ``python -m tests.bench.forgetful``, with the worker's settings.
"""

import asyncio

from handler import bootstrap, event_loop
from handler.ledger.memory import MemoryLedger
from handler.settings import load_settings
from handler.worker_bootstrap import make_worker


async def run() -> None:
    settings = load_settings()
    async with bootstrap.parts(settings) as parts:
        forgetful = parts._replace(ledger=MemoryLedger(lease_seconds=settings.lease_seconds))
        event_loop.tune_interpreter()
        await make_worker(forgetful).run(asyncio.Event())


if __name__ == "__main__":
    event_loop.run(run())
