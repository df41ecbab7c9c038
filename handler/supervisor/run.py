"""``snapshot-backup worker --processes N``: supervises N workers until a signal comes."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from handler.errors import SettingsError
from handler.extras import install
from handler.settings import Settings
from handler.status.server import listening
from handler.supervisor.agreement import agreement
from handler.supervisor.child import Child, this_program
from handler.supervisor.pages import pages
from handler.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from handler.supervisor.totals import Totals

log = logging.getLogger(__name__)

_NOT_SHARED = (
    "LEDGER_URL: with none, processes share no ledger, so two of them could back up one snapshot; set a file "
    "or a database, such as LEDGER_URL=sqlite:///snapshot-backup.db, or start one process"
)


def supervise(settings: Settings, count: int) -> int:
    """Supervise ``count`` workers until a signal comes; return the exit code. Raises ``SettingsError``."""
    if settings.ledger_url.get_secret_value().startswith("none"):
        raise SettingsError(_NOT_SHARED)
    return asyncio.run(_supervise(settings, count))


async def _supervise(settings: Settings, count: int) -> int:
    command, agreed = this_program(), agreement(settings)
    totals = _totals(settings, lambda: supervisor.restarts)
    supervisor = Supervisor(
        count,
        lambda number: Child.start(number, command, agreed),
        drain_seconds=settings.drain_seconds,
        retired=totals.retire if totals else lambda _number: None,
    )
    async with contextlib.AsyncExitStack() as stack:
        if address := settings.http_address:
            await stack.enter_async_context(listening(address, pages(supervisor.places, totals)))
        came = stack.enter_context(_signals(supervisor))
        log.info("started, %d workers", count, extra={"action": "supervisor.started"})
        code = await supervisor.run()
        log.info("stopped, all workers have ended", extra={"action": "supervisor.stopped"})
    return _end_by(came[-1]) if len(came) > 1 else code


def _totals(settings: Settings, restarts: Callable[[], int]) -> "Totals | None":
    """Return what adds up the metrics; None where no page shows them."""
    if not settings.http_address:
        return None
    try:
        from handler.supervisor.totals import Totals
    except ModuleNotFoundError:
        log.warning(
            "HTTP_ADDRESS: /metrics answers 501: %s", install("metrics"), extra={"action": "metrics.missing"}
        )
        return None
    return Totals(restarts)


@contextlib.contextmanager
def _signals(supervisor: Supervisor) -> Iterator[list[signal.Signals]]:
    """Stop the supervisor on SIGTERM and SIGINT, at once on the second; yield a list of those that came."""
    loop = asyncio.get_running_loop()
    came: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        what = "are killed" if came else "finish what is in hand"
        log.info("%s: all workers %s", number.name, what, extra={"action": "worker.draining"})
        came.append(number)
        supervisor.stop()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each)
    try:
        yield came
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)


def _end_by(number: signal.Signals) -> int:
    """End by a signal, as a worker does whose second one it is.

    Return the exit code that says so: the first process of a container does not end by a signal.
    """
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
