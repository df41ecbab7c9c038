"""A stateful test of the ledger: any order of claims, results and time keeps its invariants.

Dangers: two claims hold at once, a claim is granted beside a live backup, the ledger loses a doubt, or an
event has two outcomes.
"""

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from events.outcome import AcceptedBackup, Category, CompletedBackup, Failure
from handler.backup.ports import Busy, Created, Doubt, Finished, Granted, Key
from handler.ledger.ledger import StoredLedger
from handler.ledger.memory import MemoryStore

KEY = Key("project", "snapshot")
LEASE = 20.0
CAUSES = st.sampled_from(["a", "b", "c", "d"])
WORKERS = st.integers(0, 1)
BACKUPS = st.sampled_from(["b1", "b2", "b3"])


class LedgerModel(RuleBasedStateMachine):
    """A model of one snapshot and two workers; it keeps the few facts that the ledger must agree with."""

    claims: "Bundle[Granted]" = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        store = MemoryStore(lambda: self.now)
        self.workers = [
            StoredLedger(store, lease_seconds=LEASE, monotonic=lambda: self.now) for _ in range(2)
        ]
        self.owner: dict[str, StoredLedger] = {}
        self.granted: list[Granted] = []
        """The claims granted since a backup was last created or failed."""
        self.ends: dict[str, Finished] = {}
        self.living: str | None = None
        self.failed_backups: set[str] = set()
        self.completed: Finished | None = None
        self.open: Granted | None = None
        """The claim that has not ended yet, even if its lease has."""
        self.doubted = False

    def teardown(self) -> None:
        self.loop.close()

    def do(self, step: Any) -> Any:
        """Run one call to its end."""
        return self.loop.run_until_complete(step)

    @rule(target=claims, worker=WORKERS, cause=CAUSES, replay=st.booleans())
    def claim(self, worker: int, cause: str, replay: bool) -> Any:
        answer = self.do(self.workers[worker].claim(KEY, cause, replay=replay))
        if cause in self.ends:
            assert self.ends[cause] == answer
        elif self.completed is not None:
            assert self.completed == answer
        elif self.living is not None:
            assert isinstance(answer, Created)
            assert self.living == answer.backup.id
        elif isinstance(answer, Finished):
            assert self.failed_backups
            assert not replay
        elif isinstance(answer, Busy):
            assert self.open is not None
        else:
            self.owner[answer.token] = self.workers[worker]
            return self._granted(answer)
        return multiple()

    def _granted(self, claim: Granted) -> Granted:
        """Check what must be true of a granted claim."""
        assert self.failed_backups == claim.failed_backups
        assert (self.doubted or self.open is not None) == (claim.doubt is not None)
        if self.open is not None:
            assert claim.doubt is not None
            assert claim.doubt.lookups == 0
            self.doubted = True
        self.open = claim
        self.granted.append(claim)
        return claim

    @rule(seconds=st.sampled_from([1.0, 10.0, 15.9, 16.0, 20.0, 100.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=WORKERS)
    def renew(self, worker: int) -> None:
        self.do(self.workers[worker].renew())

    @rule(claim=claims)
    def release(self, claim: Granted) -> None:
        self.do(self.owner[claim.token].release(claim))
        self._close(claim)

    @rule(claim=claims, lookups=st.integers(0, 5))
    def doubt(self, claim: Granted, lookups: int) -> None:
        self.do(self.owner[claim.token].doubt(claim, Doubt(self.now, lookups, self.now)))
        self.doubted = self.doubted or self.open is claim
        self._close(claim)

    @rule(claim=claims, cause=CAUSES)
    def refused(self, claim: Granted, cause: str) -> None:
        failure = Failure(category=Category.REFUSED, message=f"no at {self.now}")
        self.do(self.owner[claim.token].refused(claim, cause, failure, attempts=1))
        self.ends.setdefault(cause, Finished(failure=failure, attempts=1))
        self._close(claim)

    @rule(claim=claims, backup_id=BACKUPS)
    def created(self, claim: Granted, backup_id: str) -> None:
        self.do(self.owner[claim.token].created(claim, AcceptedBackup(id=backup_id)))
        if self.completed is None and self.living is None and backup_id not in self.failed_backups:
            self.living = backup_id
            self._settle()
        self._close(claim)

    @rule(cause=CAUSES)
    def completes(self, cause: str) -> None:
        if self.living is not None:
            end = Finished(backup=CompletedBackup(id=self.living, status="available"), seconds=self.now)
            self.do(self.workers[0].finished(KEY, end, backup_id=self.living, cause=cause))
            self.completed = self.completed or end

    @rule(cause=CAUSES, backup_id=BACKUPS)
    def fails(self, cause: str, backup_id: str) -> None:
        end = Finished(failure=Failure(category=Category.BACKUP_ERROR, message=f"failed at {self.now}"))
        if self.living is None and backup_id not in self.failed_backups:
            return  # a backup that was never created cannot fail
        self.do(self.workers[0].finished(KEY, end, backup_id=backup_id, cause=cause))
        self.ends.setdefault(cause, end)
        self.failed_backups.add(backup_id)
        if self.living == backup_id and self.completed is None:
            self.living = None
            self._settle()

    def _close(self, claim: Granted) -> None:
        if self.open is claim:
            self.open = None

    def _settle(self) -> None:
        self.open, self.doubted, self.granted = None, False, []

    @invariant()
    def at_most_one_claim_holds(self) -> None:
        holding = [claim for claim in self.granted if self.do(self.owner[claim.token].holds(claim))]
        assert holding in ([], [self.open])


LedgerModel.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestLedgerModel = LedgerModel.TestCase
