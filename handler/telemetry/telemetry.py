"""``Telemetry``: receives every hook, and feeds counters, the outcome log and, where wanted, traces."""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from events.errors import EventIds
from handler.backup.hooks import (
    BreakerChange,
    Call,
    LedgerCommit,
    OverdueWaits,
    Published,
    Publishing,
    Redelivered,
    RouteChange,
    SecondBackup,
    Unpublished,
)
from handler.backup.result import Result
from handler.errors import SettingsError
from handler.extras import install
from handler.telemetry.counters import Counters
from handler.telemetry.logs import ABOUT
from handler.telemetry.otel import check_otel, otel_variables
from handler.telemetry.outcome_log import OutcomeLog

if TYPE_CHECKING:
    from handler.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Telemetry:
    """The receiver of every hook of ``handler.backup.hooks``."""

    def __init__(self, tracing: "Tracing | None" = None) -> None:
        self.counters = Counters()
        self.outcome_log = OutcomeLog(self.counters)
        self._tracing = tracing

    def follow(self, ids: EventIds, traceparent: str | None) -> AbstractContextManager[str | None]:
        """Surround the handling of a message; see ``handler.backup.hooks.Follow``."""
        span = self._tracing.follow(ids, traceparent) if self._tracing else None
        return _Following(ids, traceparent, span)

    def handled(self, result: Result) -> None:
        """Count, log and trace a handled message."""
        self.counters.handled(result, now=time.time())
        self.outcome_log.handled(result)
        if self._tracing:
            self._tracing.handled(result)

    def called(self, call: Call) -> None:
        """Count and trace a call of the API."""
        self.counters.called(call)
        if self._tracing:
            self._tracing.called(call)

    def published(self, publish: Publishing | Published | Unpublished) -> None:
        """Count a publish, at its begin and at its end, and trace it once it is confirmed."""
        self.counters.published(publish)
        if self._tracing and isinstance(publish, Published):
            self._tracing.published(publish)

    def route_changed(self, change: RouteChange) -> None:
        """Record whether a type of outcome reaches a queue."""
        self.counters.route_changed(change)

    def redelivered(self, redelivered: Redelivered) -> None:
        """Count a redelivery."""
        self.counters.redelivered(redelivered)

    def waits_seen(self, waits: OverdueWaits) -> None:
        """Count messages that should be back from their wait queues, and log where there are some."""
        if waits.by_delay and not self.counters.overdue:
            self.outcome_log.waits_overdue(waits.by_delay)
        self.counters.waits_seen(waits)

    def committed(self, commit: LedgerCommit) -> None:
        """Count a transaction of the ledger, and log if the ledger fails or works again. On its thread."""
        ledger = self.counters.ledger
        before, problem = ledger.reachable, ledger.problem
        ledger.count(commit)
        if commit.failed and (before is not False or problem != commit.problem):
            place = commit.place or "LEDGER_URL"
            log.warning("%s: %s", place, commit.problem, extra={"action": "ledger.unavailable"})
        elif before is False and not commit.failed:
            log.info("the ledger can be used again", extra={"action": "ledger.available"})

    def second_backup(self, second: SecondBackup) -> None:
        """Count a second backup of a snapshot; the line of the log is written where it was seen."""
        self.counters.second_backup(second)

    def breaker_changed(self, change: BreakerChange) -> None:
        """Log a change of the circuit breaker."""
        self.outcome_log.breaker_changed(change)

    def close(self) -> None:
        """Export the remaining traces; blocks until that is done."""
        if self._tracing:
            self._tracing.close()


class _Following:
    """A context manager: puts a message's ids on every log line, and makes its span the current one."""

    __slots__ = ("_ids", "_span", "_token", "_traceparent")

    def __init__(
        self, ids: EventIds, traceparent: str | None, span: AbstractContextManager[str] | None
    ) -> None:
        self._ids = ids
        self._traceparent = traceparent
        self._span = span

    def __enter__(self) -> str | None:
        if self._span:
            self._traceparent = self._span.__enter__()
        self._token = ABOUT.set((self._ids, self._traceparent))
        return self._traceparent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ABOUT.reset(self._token)
        if self._span:
            self._span.__exit__(kind, error, trace)


def open_telemetry(queue: str, environment: Mapping[str, str] = os.environ) -> Telemetry:
    """Make the telemetry, with traces if the ``OTEL_*`` variables ask for them. Raises ``SettingsError``."""
    variables = otel_variables(environment)
    if not traces_wanted(variables):
        return Telemetry()
    check_otel(variables)
    if environment is os.environ:
        os.environ.update(variables)  # where the SDK reads them
    try:
        from handler.telemetry.tracing import start
    except ModuleNotFoundError as error:
        raise SettingsError(f"OTEL_*: for traces {install('tracing')} ({error})") from None
    others = {name: value for name, value in environment.items() if not name.startswith("OTEL_")}
    tracing = start({**others, **variables}, queue)
    log.info("spans are exported", extra={"action": "tracing.started"})
    return Telemetry(tracing)


def traces_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether the ``OTEL_*`` variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    if exporter:
        return exporter.lower() != "none"
    return any(environment.get(name) for name in _ENDPOINTS)
