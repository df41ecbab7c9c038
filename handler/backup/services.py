"""The services and settings that message handling works with, and the classification of failed calls.

The account is judged by its own project before a stranger's. What the API refuses in another project is that
project's, unless it refuses our own project too.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

from events.outcome import Category, Failure
from events.state_keys import StateKeys
from handler.backup import result as results
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.control import Control
from handler.backup.evidence import Place, Route
from handler.backup.holds import LONGEST_PAUSE
from handler.backup.hooks import OnSecondBackup, noop
from handler.backup.inquiry import Inquiry
from handler.backup.policy import Account, Decision, Limits, Seen, decide
from handler.backup.ports import Api, Doubt, Granted, Ledger
from handler.backup.result import Job, Result
from handler.backup.running import Room
from handler.errors import ApiError, CallHeld

_LOOK_BACK = 60.0
"""What the API answered within so many seconds still holds."""


_THIS_MESSAGE = frozenset(
    {Category.INVALID, Category.REFUSED, Category.QUOTA, Category.NOT_FOUND, Category.CONFLICT}
)
"""What the API itself says about one message, whatever becomes of others."""


_OF_A_ROUTE = frozenset({Category.UNAVAILABLE, Category.DENIED})
"""What may fail at one route only."""


class MessageSettings(NamedTuple):
    """The settings that bound message handling; durations in seconds."""

    limits: Limits
    default_project: str | None
    max_body_bytes: int
    track_backups: bool
    track_deadline: float
    queue: str
    home: str | None
    """Our own project: that of the sign-in, else the one of events that name none."""
    crash_limit: int
    """How many processes may crash with a message in hand before its final delivery."""


class Services(NamedTuple):
    """The API, the ledger and what goes with them; ``clock`` gives seconds since the epoch.

    ``keys`` authenticate waiting messages; None where they are not authenticated. ``control`` returns what
    operators have set. ``second`` is called with each second backup of a snapshot that is seen.
    """

    api: Api
    ledger: Ledger
    breaker: CircuitBreaker
    settings: MessageSettings
    clock: Callable[[], float]
    keys: StateKeys | None
    inquiry: Inquiry
    control: Callable[[], Control] = Control
    second: OnSecondBackup = noop

    @property
    def limits(self) -> Limits:
        """The bounds of a message."""
        return self.settings.limits

    def room(self, job: Job) -> Room | None:
        """Return what the claim of a job needs to know of the limits of backups in progress."""
        if not job.selected.limits:
            return None
        state, delays = job.state, self.limits.delays
        return Room(
            job.selected.limits,
            hold=self.settings.track_deadline + delays[-1],
            delays=delays,
            returned=state.waits > 0,
            forced=state.doubt_since is not None,
            tracked=state.reason == "track" and state.backup_id is not None,
        )

    def admit(self, job: Job, route: Route) -> None:
        """Raise ``CallHeld`` if calls of this route or of the job's project fail, and others probe."""
        if seconds := self.breaker.admit(place(job, route)):
            raise held(route, seconds)

    def succeeded(self, job: Job, route: Route, *, made: bool = False) -> None:
        """Record a definite answer of the API; ``made`` says that a backup was made, or found."""
        self.breaker.record_success(place(job, route), made=made)

    async def classify(
        self, job: Job, error: ApiError, route: Route, *, last_try: float | None = None
    ) -> Decision:
        """Ask the policy what a failed call means, and record its scope in the circuit breaker.

        ``last_try`` is when the message's last create was in doubt, in seconds since the epoch.
        """
        seen = await self._seen(job, error, route, last_try)
        decision = decide(
            error,
            attempts=job.state.attempts,
            waits=job.state.waits,
            age=job.state.age(self.clock()),
            limits=self.limits,
            seen=seen,
        )
        if isinstance(error, CallHeld):
            return decision
        at, doubt = place(job, route), error.category is Category.IN_DOUBT
        if decision.scope == "service" and await self._of_route_alone(at, error):
            decision = decision._replace(scope="route")
        if decision.scope != "message":
            seconds = decision.seconds if decision.scope == "project" else error.retry_after or 0.0
            failure = ScopedFailure(
                decision.scope, error.for_operators, at, seconds, error.category.value, doubt
            )
            self.breaker.record_failure(failure)
        elif error.category in _THIS_MESSAGE:
            self.breaker.record_success(at)
        return decision

    async def _of_route_alone(self, at: Place, error: ApiError) -> bool:
        """Return whether a failure that could be the service's is its route's alone.

        What throttles is not asked again. Snapshots are limited apart: where a gateway limits calls, it
        limits those of each route, and their host may be another one.
        """
        if error.category is Category.THROTTLED:
            return at.route == "snapshot"
        return error.category in _OF_A_ROUTE and await self.inquiry.another_answers(at)

    async def _seen(self, job: Job, error: ApiError, route: Route, last_try: float | None) -> Seen:
        """Collect what was seen of other calls, as far as the policy asks for it."""
        if isinstance(error, CallHeld) or error.category in _THIS_MESSAGE:
            return Seen()
        since = _LOOK_BACK if last_try is None else max(_LOOK_BACK, self.clock() - last_try)
        return Seen(
            scope=self.breaker.evidence.failed(place(job, route)),
            creates_fine=self.breaker.evidence.made_within(since),
            account=await self._account(job, error),
            home=job.project_id == self.settings.home,
            held=self.breaker.held,
        )

    async def _account(self, job: Job, error: ApiError) -> Account:
        """Return whether the API accepts our account elsewhere: by recent answers, else by asking."""
        home, evidence = self.settings.home, self.breaker.evidence
        if error.category is not Category.DENIED or error.renewed:
            return "unknown"
        if evidence.others_answered_within(job.project_id, _LOOK_BACK):
            return "fine"
        if home is None or (home == job.project_id and error.status != HTTPStatus.FORBIDDEN):
            return "unknown"
        if evidence.answered_within(Place("list", home), _LOOK_BACK):
            return "fine"
        try:
            await self.api.check(home)
        except ApiError:
            return "failing"
        evidence.answered(Place("list", home))
        return "fine"

    async def fail(self, job: Job, claim: Granted, failure: Failure) -> Result:
        """Record the failure, so that a redelivery publishes the same, and return its result."""
        if failure.category is Category.IN_DOUBT:
            now = self.clock()
            await self.ledger.doubt(claim, claim.doubt or Doubt(since=now, lookups=0, lookup_after=now))
        await self.ledger.refused(claim, job.cause, failure, attempts=job.state.attempts)
        return results.failed(job, failure)

    async def skip(self, job: Job, claim: Granted, reason: str) -> Result:
        """Record that the snapshot is skipped, by what the API has shown of it, and return the result.

        The snapshot may be gone, or have another name, when a redelivery looks it up.
        """
        await self.ledger.refused(
            claim, job.cause, results.recorded_skip(reason), attempts=job.state.attempts
        )
        return results.skipped(job, reason)


def place(job: Job, route: Route) -> Place:
    """Return where a call for this job belongs."""
    return Place(route, job.project_id, job.request.snapshot_id)


def held(route: Route, seconds: float) -> CallHeld:
    """Return the error of a call that is not sent."""
    text = f"not sent: calls of this project, or of the route {route}, fail at present"
    error = CallHeld(Category.UNAVAILABLE, text, retry_after=seconds, sent=False)
    error.lasting = seconds >= LONGEST_PAUSE
    return error
