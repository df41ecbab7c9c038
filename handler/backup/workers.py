"""What workers report of themselves into the ledger every few seconds, for operators. Pure."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

WorkerState = Literal[
    "consuming",
    "paused",
    "draining",
    "waiting for the broker",
    "waiting for the ledger",
    "waiting for the API",
]
"""A paused worker consumes too: it delays new events, and tracks backups in progress."""

SILENT_SECONDS = 20.0
"""A worker whose latest report is older has ended without an orderly stop, or cannot reach the ledger."""


class WorkerReport(NamedTuple):
    """A report: which worker, for how many seconds it has run, and what it does.

    ``concurrency`` is how many messages it may have in hand.
    """

    id: str
    host: str
    pid: int
    version: str
    uptime: float
    state: str
    in_hand: int
    concurrency: int


class WorkerRecord(NamedTuple):
    """A worker as its latest report tells it. Times are seconds since the epoch, of the ledger's clock."""

    id: str
    host: str
    pid: int
    version: str
    started_at: float
    seen_at: float
    state: str
    in_hand: int
    concurrency: int

    @property
    def name(self) -> str:
        """The worker's host and process, for operators."""
        return f"{self.host}:{self.pid}"


class Workers(NamedTuple):
    """The workers of a queue that have reported within the last day, and the time of the ledger.

    ``other_queues`` are those whose workers run and report to the same ledger, by name, at most five.
    """

    records: Sequence[WorkerRecord]
    as_of: float
    other_queues: Sequence[str] = ()

    def age(self, worker: WorkerRecord) -> float:
        """Return the seconds since a worker's latest report."""
        return max(0.0, self.as_of - worker.seen_at)

    @property
    def alive(self) -> Sequence[WorkerRecord]:
        """Those whose latest report is recent."""
        return [each for each in self.records if self.age(each) <= SILENT_SECONDS]

    @property
    def silent(self) -> Sequence[WorkerRecord]:
        """Those that have not reported for long, and have not stopped orderly; the latest first."""
        found = [each for each in self.records if self.age(each) > SILENT_SECONDS]
        return sorted(found, key=self.age)
