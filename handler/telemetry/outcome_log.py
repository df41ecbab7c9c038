"""The outcome log: a line for each handled message up to a rate, and a summary each minute."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from events.cloudevents import OURS
from handler.backup.hooks import BreakerChange
from handler.backup.result import Result
from handler.telemetry.counters import Counters

log = logging.getLogger(__name__)

LINES_A_SECOND = 10
"""Most lines a second; an operator does not read more one by one. Failures have a limit of their own, so that
other lines do not hide them."""

SUMMARY_SECONDS = 60.0
CONFIRM_TIMEOUT = (
    "start the nodes that are down, and let advanced.config of each node of RabbitMQ have [{rabbit, "
    "[{dead_letter_worker_publisher_confirm_timeout, 10000}]}].: by default RabbitMQ tries only every three "
    "minutes to forward what a queue did not take whose leader had died"
)
"""The remedy for waits that RabbitMQ holds back."""

_ACTIONS: Mapping[str, str] = {
    "accepted": "message.accepted",
    "completed": "message.completed",
    "failed": "message.failed",
    "skipped": "message.skipped",
    "waiting": "message.waiting",
    "ignored": "message.ignored",
}
_LEVELS = {"failed": logging.WARNING, "waiting": logging.DEBUG, "ignored": logging.DEBUG}
_BREAKER_ACTIONS: Mapping[str, str] = {
    "open": "breaker.open",
    "half_open": "breaker.half_open",
    "closed": "breaker.closed",
    "held": "breaker.held",
    "released": "breaker.released",
}
_BREAKER_LEVELS = {"open": logging.WARNING, "held": logging.WARNING}


class _Allowance:
    """Limits lines to ``LINES_A_SECOND``."""

    def __init__(self) -> None:
        self.began = 0.0
        self.lines = 0

    def take(self, now: float) -> bool:
        if now - self.began >= 1.0:
            self.began, self.lines = now, 0
        self.lines += 1
        return self.lines <= LINES_A_SECOND


class _Totals(NamedTuple):
    """The counters at the time of the last summary."""

    at: float
    events: int
    outcomes: Counter[tuple[str, str]]
    waits: Counter[str]


class OutcomeLog:
    """Logs handled messages and changes of the circuit breaker. ``clock`` is monotonic seconds."""

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._allowances = {True: _Allowance(), False: _Allowance()}
        self._allowance_of_holds = _Allowance()
        self._last = _Totals(clock(), 0, Counter(), Counter())
        self._left_out = 0
        self._warned = False

    def handled(self, result: Result) -> None:
        """Log a handled message, if level and rate allow. Called while its ids are in the context."""
        if result.kind == "ignored" and result.ids.type in OURS:
            self._came_back()
        level = _LEVELS.get(result.kind, logging.INFO)
        if level > logging.DEBUG and not self._allowances[result.kind == "failed"].take(self._clock()):
            level, self._left_out = logging.DEBUG, self._left_out + 1
        if not log.isEnabledFor(level):
            return
        extra = {
            "action": _ACTIONS[result.kind],
            "backup_id": result.backup_id,
            "reason": result.reason,
            "form": result.form,
            "seconds": result.delay.seconds if result.delay else None,
        }
        log.log(level, "%s", _sentence(result), extra=extra)

    def _came_back(self) -> None:
        """Warn once that our queue receives outcomes: those that no other queue receives are lost."""
        if not self._warned:
            self._warned = True
            log.warning(
                "outcomes that arrive in SNAPSHOT_QUEUE are ignored: a binding leads there from "
                "RESULT_EXCHANGE. Remove it: an outcome that no other queue receives is lost",
                extra={"action": "outcome.returned"},
            )

    def breaker_changed(self, change: BreakerChange) -> None:
        """Log a change of the circuit breaker."""
        texts = {
            "open": f"consuming stops for {change.seconds:.0f} s: {change.reason}",
            "half_open": f"the probe succeeded after {change.seconds:.0f} s: consuming resumes step by step",
            "closed": f"consuming is back at full concurrency after {change.seconds:.0f} s",
            "held": f"calls are held for {change.seconds:.0f} s, then probed one at a time: {change.reason}",
            "released": f"calls are sent again after {change.seconds:.0f} s: {change.reason}",
        }
        extra = {
            "action": _BREAKER_ACTIONS[change.state],
            "why": change.why,
            "seconds": round(change.seconds, 1),
        }
        level = _BREAKER_LEVELS.get(change.state, logging.INFO)
        if change.state == "held" and not self._allowance_of_holds.take(self._clock()):
            level = logging.DEBUG  # producers can make up projects
        of_cloud = f"cloud {change.cloud}: " if change.cloud else ""
        log.log(level, "%s%s", of_cloud, texts[change.state], extra=extra)

    def waits_overdue(self, by_delay: Mapping[int, int]) -> None:
        """Log that the broker has not returned messages from the wait queues in time."""
        log.warning(
            "%d messages are not back from the wait queues (%s): the broker holds them back or lost them. "
            "They are published again from the ledger within two minutes. In a cluster, %s",
            sum(by_delay.values()),
            ", ".join(f"{count} of {delay} s" for delay, count in sorted(by_delay.items())),
            CONFIRM_TIMEOUT,
            extra={"action": "waits.overdue", "messages": sum(by_delay.values())},
        )

    def summarise(self, *, in_hand: int, breaker: str) -> None:
        """Log the counts since the last summary, unless all are zero."""
        counters, last = self._counters, self._last
        now = _Totals(
            self._clock(), counters.events.total(), Counter(counters.outcomes), Counter(counters.waits)
        )
        outcomes, waits = now.outcomes - last.outcomes, now.waits - last.waits
        events, left_out = now.events - last.events, self._left_out
        self._last, self._left_out = now, 0
        if not (events or outcomes or waits or breaker != "closed"):
            return
        counts = {" ".join(filter(None, key)): count for key, count in sorted(outcomes.items())}
        rate = outcomes.total() / max(now.at - last.at, 1e-9)
        text = f"{events} events in, {_listed(counts) or 'no outcomes'} ({rate:.1f}/s), {in_hand} in hand"
        if waits:
            text += f", delayed: {_listed(waits)}"
        if breaker != "closed":
            text += f", circuit breaker {breaker}"
        extra = {
            "action": "summary",
            "events": events,
            "outcomes": counts,
            "waits": dict(waits),
            "rate": round(rate, 1),
            "in_hand": in_hand,
            "circuit_breaker": breaker,
            "lines_left_out": left_out,
        }
        log.info("%s", text, extra=extra)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what.removeprefix('backup.')}" for what, count in counts.items())


def _sentence(result: Result) -> str:
    if failure := result.dead_letter:
        return f"failed, dead-lettered: {failure.category.value}: {failure.message}"
    if result.delay and result.kind == "waiting":
        return f"delayed {result.delay.seconds:.0f} s ({result.reason})"
    return result.kind
