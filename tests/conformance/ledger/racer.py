"""A process beside others at a ledger: ``python -m tests.conformance.ledger.racer URL WORK COUNT``.

``WORK`` is one of ``STEPS``.

It prints ``ready``, waits for a line, works, and prints each snapshot's number once its promise is on disk.
"""

import asyncio
import sys

from events.outcome import AcceptedBackup
from handler.backup.ports import Granted, Key
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger


def say(text: object) -> None:
    """Print a line for the parent."""
    print(text, flush=True)


async def claim(ledger: StoredLedger, number: int) -> None:
    """Claim a snapshot; print its number if the claim was granted."""
    if isinstance(await ledger.claim(Key("p", str(number)), "cause"), Granted):
        say(number)


async def make(ledger: StoredLedger, number: int) -> None:
    """Claim a snapshot and record a backup; print its number when both are done."""
    claim = await ledger.claim(Key("p", str(number)), "cause")
    if isinstance(claim, Granted):
        await ledger.created(claim, AcceptedBackup(id=str(number)))
        say(number)


async def state_key(ledger: StoredLedger, _number: int) -> None:
    """Say the key of waiting messages."""
    say(await ledger.state_key())


STEPS = {"claim": claim, "make": make, "state_key": state_key}


async def race(url: str, work: str, count: int) -> None:
    """Run the steps, several at once."""
    ledger = open_ledger(url, lease_seconds=60)
    await ledger.check()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    step = STEPS[work]
    for start in range(0, count, 8):
        await asyncio.gather(*(step(ledger, number) for number in range(start, min(start + 8, count))))
    await ledger.aclose()


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1], sys.argv[2], int(sys.argv[3])))
