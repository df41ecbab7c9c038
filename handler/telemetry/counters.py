"""Counters and histograms of this process, as plain numbers; ``/metrics`` and the summaries read them.

They are always counted, on one event loop and without locks: that costs next to nothing.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from handler.backup.hooks import Call, Published
from handler.backup.result import Result

CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: from an API in the same network to twice the default of ``VBS_TIMEOUT``."""

EVENT_BOUNDS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
"""Seconds: from an outcome that is published at once to the default of ``MAX_AGE``."""

NO_STATUS = "none"
SIGN_INS = ("granted", "refused", "unavailable")


class Histogram:
    """A histogram of durations: a count for each bucket, the last one unbounded, and their sum in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def count(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Counters:
    """The counters since the start of this process. Their labels are few and fixed."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        """Events received, by form."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Outcomes published, by type and (for a failure) category."""
        self.ignored = 0
        """Notifications that are not for us."""
        self.returned = 0
        """Messages that came back from a wait queue."""
        self.waits: Counter[str] = Counter()
        """Delayed messages, by reason."""
        self.delays: Counter[str] = Counter()
        """Delayed messages, by wait queue."""
        self.event_seconds = Histogram(EVENT_BOUNDS)
        """Time from an event's first delivery to its terminal outcome."""
        self.unfinished = Histogram(EVENT_BOUNDS)
        """Age of backups that were still in progress when they were tracked."""
        self.calls: Counter[tuple[str, str]] = Counter()
        """Calls of the API and its sign-in, by route and HTTP status."""
        self.latencies: dict[str, Histogram] = {}
        """Duration of calls, by route."""
        self.sign_ins: Counter[str] = Counter()
        """Sign-ins with a password, by result."""
        self.redelivered = 0
        self.unroutable = 0
        self.unconfirmed = 0
        """Published messages that the broker has not confirmed yet."""

    def handled(self, result: Result, *, now: float) -> None:
        """Count a handled message; ``now`` is seconds since the epoch."""
        state = result.state
        if state.waits:
            self.returned += 1
        else:
            self.events[result.form or "unreadable"] += 1
        delay = result.delay
        if delay:
            self.waits[delay.state.reason] += 1
            if delay.state.reason == "track" and delay.state.backup_id == state.backup_id:
                self.unfinished.count(max(0.0, now - (delay.state.accepted_at or now)))
        if result.kind == "ignored":
            self.ignored += 1
        elif result.kind != "waiting":
            self.outcomes[f"backup.{result.kind}", result.category or ""] += 1
            if not delay:
                self.event_seconds.count(max(0.0, now - state.first_seen))

    def called(self, call: Call) -> None:
        """Count a call."""
        if call.route == "token":
            self.sign_ins[_sign_in_result(call.status)] += 1
        self.calls[call.route, str(call.status or NO_STATUS)] += 1
        if call.route not in self.latencies:
            self.latencies[call.route] = Histogram(CALL_BOUNDS)
        self.latencies[call.route].count(call.seconds)

    def published(self, published: Published) -> None:
        """Count a message that the broker has confirmed."""
        if published.kind == "wait":
            self.delays[published.routing_key] += 1


def _sign_in_result(status: int | None) -> str:
    if status is None or status >= 500:
        return "unavailable"
    return "granted" if status < 300 else "refused"
