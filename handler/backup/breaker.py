"""The circuit breaker: stops consuming while the service fails, and resumes it step by step.

While the API, its sign-in or the ledger is down, messages stay in the broker. One message at a time probes,
at growing intervals; then the number in flight doubles with each round that goes well. A project that is
throttled alone is parked alone, so that it does not starve the others; where nothing else comes in, the
circuit breaker opens too.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from handler.backup.hooks import BreakerChange, OnBreakerChange, noop

BreakerState = Literal["closed", "half_open", "open"]

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
DOUBTS_IN_A_ROW = 16


class ScopedFailure(NamedTuple):
    """A failure with its scope: the service, one project, or a call in doubt, which may be one message's.

    ``why`` is a failure's category, or ``ledger``; ``reason`` the text.
    """

    scope: Literal["service", "project", "doubt"]
    reason: str
    project_id: str | None = None
    seconds: float = 0.0
    why: str = "unavailable"


class CircuitBreaker:
    """Limits how many messages are in flight. Pure except for the clock, which gives monotonic seconds."""

    def __init__(
        self,
        concurrency: int,
        clock: Callable[[], float],
        *,
        doubt_pause: float,
        notify: OnBreakerChange = noop,
    ) -> None:
        self._full = concurrency
        self._clock = clock
        self._doubt_pause = doubt_pause
        self._notify = notify
        self._limit = concurrency
        self._paused_until = 0.0
        self._pause = FIRST_PAUSE
        self._good_in_a_row = 0
        self._doubts = 0
        self._parked_in_a_row = 0
        self._projects: dict[str, float] = {}
        self._answered_at = float("-inf")
        self._failing_since: float | None = None
        self._reported: BreakerState = "closed"
        self.why: str | None = None
        self.reason: str | None = None

    @property
    def limit(self) -> int:
        """How many messages may be in flight; 0 while the circuit breaker is open."""
        return 0 if self.pause_left() else self._limit

    @property
    def state(self) -> BreakerState:
        """The state's name, for logs and metrics."""
        if self.pause_left():
            return "open"
        return "closed" if self._failing_since is None else "half_open"

    def pause_left(self) -> float:
        """Seconds until the next probe may start; 0 where it is not open."""
        return max(0.0, self._paused_until - self._clock())

    def answered_within(self, seconds: float) -> bool:
        """Return whether the API has given a definite answer in the last ``seconds``."""
        return self._clock() - self._answered_at <= seconds

    def park(self, project_id: str) -> float:
        """Return for how many seconds a message of this project must be parked; 0 if it may go on."""
        left = max(0.0, self._projects.get(project_id, 0.0) - self._clock())
        if not left:
            self._projects.pop(project_id, None)
            self._parked_in_a_row = 0
            return 0.0
        self._parked_in_a_row += 1
        if self._parked_in_a_row > self._full:
            # Only parked messages come in. To delay them again and again would only keep the broker busy.
            self._parked_in_a_row = 0
            self._stop(left, "throttled", "nothing comes in but messages of throttled projects")
        return left

    def record_success(self) -> None:
        """Record a definite answer of the API."""
        self._answered_at = self._clock()
        self._doubts = 0
        if self._failing_since is None or self.pause_left():
            return
        self._pause = FIRST_PAUSE
        self._good_in_a_row += 1
        if self._good_in_a_row >= self._limit:
            self._good_in_a_row = 0
            self._limit = min(self._full, self._limit * 2)
        self._report_recovery(self._failing_since)

    def record_failure(self, failure: ScopedFailure) -> None:
        """Record a failure that does not concern one message alone."""
        match failure.scope:
            case "project" if failure.project_id is not None:
                self._projects[failure.project_id] = self._clock() + failure.seconds
            case "doubt":
                self._doubts += 1
                if self._doubts >= max(DOUBTS_IN_A_ROW, self._full):
                    # So many calls in a row had no answer: wait for the result of the first lookups.
                    self._doubts = 0
                    self._stop(self._doubt_pause, failure.why, failure.reason)
            case _:
                self._record_for_service(failure)

    def _record_for_service(self, failure: ScopedFailure) -> None:
        if self.pause_left():
            return  # the message was in flight already when the circuit breaker opened
        self._stop(max(self._pause, failure.seconds), failure.why, failure.reason)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _stop(self, seconds: float, why: str, reason: str) -> None:
        now = self._clock()
        self._paused_until = now + seconds
        if self._failing_since is None:
            self._failing_since = now
        self._limit = 1
        self._good_in_a_row = 0
        self.why = why
        self.reason = reason
        self._reported = "open"
        self._notify(BreakerChange("open", why, reason, seconds))

    def _report_recovery(self, since: float) -> None:
        lasted, why = self._clock() - since, self.why or ""
        if self._limit == self._full:
            self._failing_since = self.why = self.reason = None
            self._reported = "closed"
            self._notify(BreakerChange("closed", why, "", lasted))
        elif self._reported == "open":
            self._reported = "half_open"
            self._notify(BreakerChange("half_open", why, "", lasted))
