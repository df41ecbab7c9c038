"""The services and settings that message handling works with, and the classification of failed calls."""

from collections.abc import Callable
from typing import NamedTuple

from events.outcome import Category, Failure
from events.state_keys import StateKeys
from handler.backup import result as results
from handler.backup.breaker import CircuitBreaker, ScopedFailure
from handler.backup.policy import Decision, Limits, decide
from handler.backup.ports import Api, Doubt, Granted, Ledger
from handler.backup.result import Job, Result
from handler.errors import ApiError

_LOOK_BACK = 60.0
"""An API that gave a definite answer within so many seconds is not down."""


class MessageSettings(NamedTuple):
    """The settings that bound message handling; durations in seconds."""

    limits: Limits
    default_project: str | None
    max_body_bytes: int
    track_backups: bool
    track_deadline: float
    queue: str
    crash_limit: int
    """How many processes may crash with a message in hand before its final delivery."""


class Services(NamedTuple):
    """The API, the ledger and what goes with them; ``clock`` gives seconds since the epoch.

    ``keys`` authenticate waiting messages; None where they are not authenticated.
    """

    api: Api
    ledger: Ledger
    breaker: CircuitBreaker
    settings: MessageSettings
    clock: Callable[[], float]
    keys: StateKeys | None

    @property
    def limits(self) -> Limits:
        """The bounds of a message."""
        return self.settings.limits

    def classify(self, job: Job, error: ApiError) -> Decision:
        """Ask the policy what a failed call means, and record its scope in the circuit breaker."""
        decision = decide(
            error,
            attempts=job.state.attempts,
            waits=job.state.waits,
            age=self.clock() - job.state.first_seen,
            limits=self.limits,
            others_fine=self.breaker.answered_within(_LOOK_BACK),
        )
        if decision.scope == "message":
            self.breaker.record_success()
        else:
            seconds = decision.seconds if decision.scope == "project" else error.retry_after or 0.0
            failure = ScopedFailure(decision.scope, str(error), job.project_id, seconds, error.category.value)
            self.breaker.record_failure(failure)
        return decision

    async def fail(self, job: Job, claim: Granted, failure: Failure) -> Result:
        """Record the failure, so that a redelivery publishes the same, and return its result."""
        if failure.category is Category.IN_DOUBT:
            now = self.clock()
            await self.ledger.doubt(claim, claim.doubt or Doubt(since=now, lookups=0, lookup_after=now))
        await self.ledger.refused(claim, job.cause, failure, attempts=job.state.attempts)
        return results.failed(job, failure)
