"""Findings on the workers that report to the ledger. A worker may have several consumers at the broker."""

import asyncio
from collections.abc import Sequence

from handler.backup.workers import SILENT_SECONDS, WorkerRecord, Workers
from handler.doctor.findings import Finding
from handler.errors import LedgerUnavailable, SettingsError
from handler.ledger.sqlite import sqlite_path
from handler.ledger.stores import open_ledger
from handler.printable import printable
from handler.settings import Settings

WAITING = "waiting"
_SHOWN = 5
_LIMIT_SECONDS = 12.0


async def workers_of(settings: Settings) -> Workers | None:
    """Read the workers of the queue; None where the ledger cannot tell. A missing file is not created."""
    url = settings.ledger_url.get_secret_value()
    try:
        if url == "none" or (url.startswith("sqlite:") and not sqlite_path(url).exists()):
            return None
        ledger = open_ledger(url, lease_seconds=settings.lease_seconds)
    except (SettingsError, OSError):
        return None
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            return await ledger.workers(settings.snapshot_queue)
    except (LedgerUnavailable, TimeoutError):
        return None
    finally:
        await ledger.aclose()


def other_queues_finding(workers: Workers) -> Finding:
    """Name the other queues whose workers use the same ledger: any of them publishes what is overdue."""
    text = (
        f"workers of other queues use it too: {printable(', '.join(workers.other_queues))}. Any of them "
        "publishes a message whose wait is overdue, into its own queue and so to its own API"
    )
    remedy = "LEDGER_URL: give each SNAPSHOT_QUEUE a ledger of its own, another file or another database"
    return Finding("ledger", "queues", "warning", text, remedy)


def workers_finding(workers: Workers) -> Finding:
    """Name the workers that run, or the latest that did."""
    alive, silent = workers.alive, workers.silent
    if alive:
        return _running(alive, len(silent))
    if silent:
        latest = silent[0]
        text = (
            f"none has reported within {SILENT_SECONDS:.0f} s; the latest is {latest.name}, "
            f"{workers.age(latest):,.0f} s ago, {latest.state}: it was killed, hangs, or cannot reach the "
            "ledger"
        )
        return Finding("ledger", "workers", "warning", text, f"look at {latest.name}, or start a worker")
    text = "none has reported within the last day; functions and workers of earlier releases do not"
    return Finding("ledger", "workers", "ok", text)


def _running(alive: Sequence[WorkerRecord], silent: int) -> Finding:
    shown = [f"{each.name} {each.state}, {each.in_hand} of {each.concurrency} in hand" for each in alive]
    more = [f"{len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    text = f"{count_workers(len(alive))}: {'; '.join(shown[:_SHOWN] + more)}"
    if silent:
        text += f"; within the last day {silent} ended without an orderly stop"
    if waiting := [each for each in alive if each.state.startswith(WAITING)]:
        remedy = f"the log and /readyz of {waiting[0].name} say why; it goes on by itself"
        return Finding("ledger", "workers", "warning", text, remedy)
    return Finding("ledger", "workers", "ok", text)


def count_workers(number: int) -> str:
    """Return a number of workers as text."""
    return f"{number} worker{'' if number == 1 else 's'}"
