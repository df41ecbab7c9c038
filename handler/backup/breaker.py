"""The circuit breaker: stops consuming while the service fails, and resumes it step by step.

While the API, its sign-in or the ledger is down, messages stay in the broker. One message at a time probes,
at growing intervals; then the number in flight doubles with each round that goes well. If only one project
or one route of the API fails, its calls alone are held and probed (``holds``); where nothing else comes in,
consuming pauses too. ``evidence`` tells these apart.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Literal, NamedTuple

from handler.backup.evidence import Evidence, Place, Route
from handler.backup.holds import FIRST_PAUSE, LONGEST_PAUSE, Ended, Holds
from handler.backup.hooks import BreakerChange, OnBreakerChange, noop

BreakerState = Literal["closed", "half_open", "open"]

DOUBTS_IN_A_ROW = 16
OTHERS_FIRST_SECONDS = 1.0
"""How long after a pause messages of projects that failed before it leave the probe to other projects."""

IDLE_SECONDS = 1.0
"""How long consuming pauses where only messages of held projects or routes come in. Others may be behind."""

LONGEST_LEDGER_PAUSE = 8.0
"""Longest pause while the ledger is unavailable: a try is cheap, and after a failover it works at once."""

_FAILED_PROJECTS = 64


class ScopedFailure(NamedTuple):
    """A failure with its scope: the service, one route or project, or a call in doubt.

    ``why`` is a failure's category, or ``ledger``; ``reason`` the text. ``place`` is None for the ledger.
    ``seconds`` is how long the API asks to wait. ``doubt`` says that the call's outcome is not known.
    """

    scope: Literal["service", "route", "project"]
    reason: str
    place: Place | None = None
    seconds: float = 0.0
    why: str = "unavailable"
    doubt: bool = False


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
        self.full = concurrency
        self._clock = clock
        self._doubt_pause = doubt_pause
        self._notify = notify
        self._limit = concurrency
        self._paused_until = 0.0
        self._idle_until = 0.0
        self._pause = FIRST_PAUSE
        self._good_in_a_row = 0
        self._doubts = 0
        self._parked_in_a_row = 0
        self._held_in_a_row = 0
        self._holds = Holds(clock)
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._failing_since: float | None = None
        self._reported: BreakerState = "closed"
        self.evidence = Evidence(clock)
        self.why: str | None = None
        self.reason: str | None = None

    @property
    def limit(self) -> int:
        """How many messages may be in flight; 0 while the circuit breaker is open."""
        return 0 if self.pause_left() else self._limit

    @property
    def places(self) -> int:
        """How many messages may be in flight, apart from pauses: fewer than ``full`` while it probes."""
        return self.full if self.outage_left() else self._limit

    @property
    def state(self) -> BreakerState:
        """The state's name, for logs and metrics."""
        if self.pause_left():
            return "open"
        return "closed" if self._failing_since is None else "half_open"

    @property
    def held(self) -> int:
        """How many projects and routes are held."""
        return len(self._holds)

    @property
    def held_routes(self) -> Mapping[Route, str]:
        """The routes whose calls are held, each with the category of its failure."""
        return {key[0]: why for key, why in self._holds.reasons() if isinstance(key, tuple)}

    @property
    def held_projects(self) -> int:
        """How many projects are held."""
        return len(self._holds) - len(self.held_routes)

    def resize(self, concurrency: int) -> None:
        """Change how many messages may be in flight; while the service fails, the number only shrinks."""
        self.full = concurrency
        self._limit = concurrency if self._failing_since is None else min(self._limit, concurrency)

    def pause_left(self) -> float:
        """Seconds until the next message may be consumed; 0 where it is not open."""
        return max(0.0, max(self._paused_until, self._idle_until) - self._clock())

    def outage_left(self) -> float:
        """Seconds until the next probe may start while the service fails; 0 where it does not."""
        return max(0.0, self._paused_until - self._clock())

    def park(self, project_id: str) -> float:
        """Return for how many seconds a message of this project must be parked; 0 if it may go on.

        It is parked while the service fails or its project is held, and while other projects probe first.
        """
        if outage := self.outage_left():
            # Messages of projects that failed come back one wait queue later than the others.
            return outage + (self._doubt_pause if project_id in self._failed else 0.0)
        if left := self._others_first(project_id):
            return left
        left = self._holds.left(project_id)
        self._parked_in_a_row = self._parked_in_a_row + 1 if left else 0
        if self._parked_in_a_row > self.full:
            self._parked_in_a_row = 0
            self._idle_until = self._clock() + min(left, IDLE_SECONDS)
        return left

    def hold(self, route: Route) -> float:
        """Return for how many seconds no call of this route may be sent, for a message that needs one.

        If only such messages come in, consuming pauses for a moment: to delay them again and again would only
        keep the broker busy. The pause is short, since messages that need other routes may be behind them.
        """
        left = self._holds.left((route,))
        self._held_in_a_row += bool(left)
        if self._held_in_a_row > self.full:
            self._held_in_a_row = 0
            self._idle_until = self._clock() + min(left, IDLE_SECONDS)
        return left

    def admit(self, place: Place) -> float:
        """Return 0 if a call may be sent, as a probe of what is held; else the seconds left."""
        if left := self._holds.left(place.project_id) or self.hold(place.route) or self._lookups_first(place):
            return left
        if (place.route,) in self._holds:
            self._held_in_a_row = 0
        self._holds.probe(place.project_id)
        self._holds.probe((place.route,))
        return 0.0

    def record_success(self, place: Place, *, made: bool = False) -> None:
        """Record a definite answer of the API; ``made`` says that a backup was made, or found.

        A refusal proves that the API answers. Only a backup proves that it makes backups.
        """
        self.evidence.answered(place, made=made)
        self._holds.succeeded(place.project_id)
        if made:
            self._doubts = 0
            self._release("create", self._holds.end(("create",)))
        elif place.route != "create":
            self._release(place.route, self._holds.succeeded((place.route,)))
        if (place.route,) not in self._holds:
            self._held_in_a_row = 0
        if self._failing_since is None or self.outage_left():
            return
        self._failed.clear()
        self._pause = FIRST_PAUSE
        self._good_in_a_row += 1
        if self._good_in_a_row >= self._limit:
            self._good_in_a_row = 0
            self._limit = min(self.full, self._limit * 2)
        self._report_recovery(self._failing_since)

    def record_failure(self, failure: ScopedFailure) -> None:
        """Record a failure that does not concern one message alone."""
        if failure.doubt:
            self._doubts += 1
            if not self._many_doubts:
                return
            # So many calls in a row had no answer: wait for the result of the first lookups.
            failure = failure._replace(seconds=max(failure.seconds, self._doubt_pause))
        match failure.scope, failure.place:
            case "project", Place() as place:
                self._begin(place.project_id, f"project {place.project_id}", failure)
            case "route", Place() as place:
                self._begin((place.route,), f"the route {place.route}", failure)
            case _:
                self._record_for_service(failure)

    def _begin(self, key: Hashable, what: str, failure: ScopedFailure) -> None:
        if self._holds.begin(key, failure.seconds, failure.why):
            reason = f"{what} alone: {failure.reason}"
            self._notify(BreakerChange("held", failure.why, reason, self._holds.left(key)))

    def _release(self, route: Route, ended: Ended | None) -> None:
        if ended:
            reason = f"the route {route} answers"
            self._notify(BreakerChange("released", ended.why, reason, ended.seconds))

    def _others_first(self, project_id: str) -> float:
        """Return for how long this project leaves the next probe to others, which may not fail."""
        if project_id not in self._failed:
            return 0.0
        return max(0.0, self._paused_until + OTHERS_FIRST_SECONDS - self._clock())

    @property
    def _many_doubts(self) -> bool:
        return self._doubts >= max(DOUBTS_IN_A_ROW, self.full)

    def _lookups_first(self, place: Place) -> float:
        """Return for how long a create of a project that failed leaves the next probe to lookups.

        They tell what became of the calls in doubt. Each further doubt would else make the pause longer, and
        the lookups would wait behind it.
        """
        if place.route != "create" or not self._many_doubts or place.project_id not in self._failed:
            return 0.0
        return max(0.0, self._paused_until + 2 * self._doubt_pause - self._clock())

    def _record_for_service(self, failure: ScopedFailure) -> None:
        if failure.place is not None:
            self._failed[failure.place.project_id] = None
            if len(self._failed) > _FAILED_PROJECTS:
                self._failed.popitem(last=False)
        if self.outage_left():
            return  # the message was in flight already when the circuit breaker opened
        longest = LONGEST_LEDGER_PAUSE if failure.why == "ledger" else LONGEST_PAUSE
        self._stop(max(min(self._pause, longest), failure.seconds), failure.why, failure.reason)
        self._pause = min(longest, self._pause * 2)

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
        if self._limit == self.full:
            self._failing_since = self.why = self.reason = None
            self._reported = "closed"
            self._notify(BreakerChange("closed", why, "", lasted))
        elif self._reported == "open":
            self._reported = "half_open"
            self._notify(BreakerChange("half_open", why, "", lasted))
