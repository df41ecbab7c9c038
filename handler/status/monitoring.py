"""Monitoring of a worker: runs the pages of ``HTTP_ADDRESS`` and the summary of each minute beside it."""

import asyncio
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from handler.bootstrap import Parts, group_limits, topology
from handler.extras import install
from handler.ledger.sqlite import sqlite_path
from handler.status import server
from handler.status.readiness import Readiness
from handler.status.running import RunningWatch
from handler.status.server import Answer, Page
from handler.telemetry import outcome_log
from handler.worker.worker import Worker

log = logging.getLogger(__name__)

_MISSING = install("metrics")
_MEASURE_SECONDS = 0.1


Listen = Callable[[str, Mapping[str, Page]], AbstractAsyncContextManager[int | None]]


@asynccontextmanager
async def monitored(
    parts: Parts, worker: Worker, *, listen: Listen = server.listening
) -> AsyncIterator[int | None]:
    """Serve ``HTTP_ADDRESS``, if it is set, and log summaries; yields the port. Raises ``SettingsError``.

    ``listen`` serves the pages elsewhere, under a supervisor.
    """
    counters = parts.telemetry.counters
    control = parts.control.current
    readiness = Readiness(
        worker, parts.breaker, parts.ledger, counters.ledger, counters.missing_routes, control
    )
    async with AsyncExitStack() as stack:
        port = None
        if address := parts.settings.http_address:
            port = await stack.enter_async_context(listen(address, pages(parts, worker, readiness)))
        chores = [_each_minute(parts, worker), readiness.keep_checking()]
        if parts.settings.max_running is not None or group_limits(parts.settings):
            chores.append(RunningWatch(parts.ledger, counters).keep())
        tasks = [asyncio.create_task(chore) for chore in chores]
        try:
            yield port
        finally:
            _summarise(parts, worker)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def pages(parts: Parts, worker: Worker, readiness: Readiness) -> Mapping[str, Page]:
    """Return the pages, by path."""
    return {
        "/healthz": server.healthy,
        "/readyz": readiness.page,
        "/metrics": _metrics(parts, worker),
    }


def _metrics(parts: Parts, worker: Worker) -> Page:
    """Return the page /metrics. Without the extra it answers 501; the other pages need no extra."""
    try:
        from handler.status.metrics import Metrics, Sources
    except ModuleNotFoundError:
        log.warning("HTTP_ADDRESS: /metrics answers 501: %s", _MISSING, extra={"action": "metrics.missing"})
        return lambda: Answer(HTTPStatus.NOT_IMPLEMENTED, f"{_MISSING}\n".encode())
    sources = Sources(
        parts.telemetry.counters,
        parts.breaker,
        worker,
        topology(parts.settings),
        _free_bytes(parts.settings.ledger_url.get_secret_value()),
        parts.control.current,
    )
    return Metrics(sources).page


def _free_bytes(ledger_url: str) -> Callable[[], int | None]:
    """Return a function for the free disk space where a SQLite ledger is."""
    if not ledger_url.startswith("sqlite:"):
        return lambda: None
    return FreeSpace(Path(sqlite_path(ledger_url)).absolute().parent)


class FreeSpace:
    """Measures free space on a thread of its own: on a disk that hangs the call does not return."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._measuring: threading.Thread | None = None
        self._free: int | None = None

    def __call__(self) -> int | None:
        """Return the free bytes; None where the disk does not answer, or has no such folder."""
        if self._measuring is None or not self._measuring.is_alive():
            self._free = None
            self._measuring = threading.Thread(target=self._measure, name="free-space", daemon=True)
            self._measuring.start()
            self._measuring.join(_MEASURE_SECONDS)
        return self._free

    def _measure(self) -> None:
        with suppress(OSError):
            self._free = shutil.disk_usage(self._folder).free


async def _each_minute(parts: Parts, worker: Worker) -> None:
    while True:
        await asyncio.sleep(outcome_log.SUMMARY_SECONDS)
        _summarise(parts, worker)


def _summarise(parts: Parts, worker: Worker) -> None:
    in_hand = worker.session.in_hand if worker.session else 0
    parts.telemetry.outcome_log.summarise(in_hand=in_hand, breaker=parts.breaker.state)
