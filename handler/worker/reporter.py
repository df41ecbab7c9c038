"""``Reporter``: what this worker reports of itself into the ledger."""

import os
import secrets
import socket
import time
from collections.abc import Callable
from importlib.metadata import version

from handler.backup.clouds import AnyBreaker
from handler.backup.control import Control
from handler.backup.workers import WorkerReport, WorkerState
from handler.printable import printable
from handler.worker.worker import Worker

_MOST_HOST = 255


class Reporter:
    """Makes the reports of a worker: which one it is, and what it does. ``clock`` gives monotonic seconds."""

    def __init__(
        self,
        worker: Worker,
        breaker: AnyBreaker,
        control: Callable[[], Control],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._breaker = breaker
        self._control = control
        self._clock = clock
        self._began = clock()
        self._id = secrets.token_hex(8)
        self._host = host_name(socket.gethostname())
        self._version = version("snapshot-backup")

    def report(self) -> WorkerReport:
        """Return the report of now."""
        session = self._worker.session
        return WorkerReport(
            self._id,
            self._host,
            os.getpid(),
            self._version,
            self._clock() - self._began,
            self._state(),
            session.in_hand if session else 0,
            self._breaker.full,
        )

    def _state(self) -> WorkerState:
        if self._worker.draining:
            return "draining"
        if self._worker.session is None:
            return (
                "waiting for the ledger" if self._worker.waits_for == "ledger" else "waiting for the broker"
            )
        if self._worker.missing:
            return "waiting for the broker"
        if self._control().queue:
            return "paused"
        if self._breaker.why:
            return "waiting for the ledger" if self._breaker.why == "ledger" else "waiting for the API"
        return "consuming"


def host_name(found: str) -> str:
    """Return the machine's name in ASCII, since the database's encoding may lack other letters."""
    return printable(found[:_MOST_HOST]).encode("ascii", "backslashreplace").decode()
