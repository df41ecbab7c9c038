"""Counters and histograms of this process, as plain numbers; ``/metrics`` and the summaries read them.

They are always counted, and without locks: that costs next to nothing. One thread writes each number: for the
ledger's it is the thread that commits, for all others the event loop's.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from handler.backup.hooks import (
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

CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: from an API in the same network to twice the default of ``VBS_TIMEOUT``."""

EVENT_BOUNDS = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
"""Seconds: from an outcome that is published at once to the default of ``MAX_AGE``."""

NO_STATUS = "none"
SIGN_INS = ("granted", "refused", "unavailable")

GROUP_EXPONENT = 8
"""Groups of up to 2**8 changes have a bucket by size; larger groups do not occur."""


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


class LedgerCounters:
    """Counters of the ledger: its transactions, and the changes in them.

    ``sizes[n]`` counts the groups of more than 2**(n-1) and up to 2**n changes; the last item counts all that
    are larger. ``reachable`` says whether the latest transaction succeeded; None before the first. If it has
    not, ``problem`` says why, and what to do.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.changes = 0
        self.failures = 0
        self.reachable: bool | None = None
        self.problem = ""
        self.sizes = [0] * (GROUP_EXPONENT + 2)

    def count(self, commit: LedgerCommit) -> None:
        """Count a transaction, committed or failed."""
        self.problem = commit.problem
        self.reachable = not commit.failed
        if commit.failed:
            self.failures += 1
            return
        self.commits += 1
        self.changes += commit.changes
        self.sizes[min((commit.changes - 1).bit_length(), GROUP_EXPONENT + 1)] += 1


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
        self.redeliveries = 0
        """Deliveries of messages that were delivered before."""
        self.unroutable = 0
        """Publishes of outcomes that no queue was bound for, or that the broker refused."""
        self.missing_routes: dict[str, str] = {}
        """Types of outcome that reach no queue now: ``unroutable`` or ``refused``."""
        self.unconfirmed = 0
        """Published messages that the broker has not confirmed yet."""
        self.overdue: Mapping[int, int] | None = None
        """Messages that should be back from their wait queues, by delay; None where this is not known."""
        self.swept = 0
        """Messages that were published again from the ledger, since the broker did not return them."""
        self.second_backups = 0
        self.event_ages = Histogram(EVENT_BOUNDS)
        """The ages of events that have no end yet, at each of their delays."""
        self.ledger = LedgerCounters()
        self.running: dict[str, int] = {}
        """Backups in progress by limit, as the ledger counted them last."""
        self.waiting_for_room = 0
        """Messages that wait for room among them."""

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
            self.event_ages.count(max(0.0, now - state.first_seen))
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

    def published(self, publish: Publishing | Published | Unpublished) -> None:
        """Count a publish, at its begin and at its end."""
        if isinstance(publish, Publishing):
            self.unconfirmed += 1
            return
        self.unconfirmed -= 1
        if isinstance(publish, Published):
            if publish.kind == "wait":
                self.delays[publish.routing_key] += 1
        elif publish.kind == "outcome" and publish.unroutable:
            self.unroutable += 1

    def route_changed(self, change: RouteChange) -> None:
        """Record whether a type of outcome reaches a queue."""
        if change.state is None:
            self.missing_routes.pop(change.outcome_type, None)
        else:
            self.missing_routes[change.outcome_type] = change.state

    def waits_seen(self, waits: OverdueWaits) -> None:
        """Record what the sweep knows of overdue messages."""
        self.overdue = waits.by_delay
        self.swept += waits.swept

    def second_backup(self, _second: SecondBackup) -> None:
        """Count a second backup of a snapshot, each time that one is seen."""
        self.second_backups += 1

    def redelivered(self, _redelivered: Redelivered) -> None:
        """Count a redelivery."""
        self.redeliveries += 1


def _sign_in_result(status: int | None) -> str:
    if status is None or status >= 500:
        return "unavailable"
    return "granted" if status < 300 else "refused"
